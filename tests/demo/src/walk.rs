//! The preemption: bob's job takes the node, and the session's event log is followed until it runs elsewhere.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stasis_contract::{Event, Step};
use stasis_testbed::{Cluster, JobId};

use crate::error::{Error, Result};
use crate::screen::Screen;

/// How long one part of the walk may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the log is read: it is what the first answer is measured from.
const LOOK: Duration = Duration::from_millis(10);
/// How often Slurm is asked whether the job is well.
const ASK_SLURM: Duration = Duration::from_secs(3);
/// Bob's job.
const URGENT: &str = "#!/bin/bash\nsleep 120\n";
/// How the job's output begins to tell that there is no image.
const NOT_SAVED: &str = "stasis: no checkpoint was taken";
/// The uid of alice on the cluster, by which the store is divided.
const ALICE: u32 = 2001;

/// A job of alice's that Stasis protects, seen through its event log.
pub struct Walk<'a> {
    cluster: &'a Cluster,
    job: JobId,
    log: PathBuf,
}

impl<'a> Walk<'a> {
    /// The job's log, which may not be there yet.
    pub fn of(cluster: &'a Cluster, job: JobId) -> Self {
        let folder = format!("stasis/{ALICE}/{}/{job}", cluster.spec().name);
        Self { cluster, job, log: cluster.host_dir_shared().join(folder).join("events.jsonl") }
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        Event::in_log(&text).unwrap_or_default()
    }

    /// Fails if Stasis has nothing to tell of the job, which runs.
    pub fn require_protected(&self) -> Result<()> {
        if self.events().iter().any(|event| event.step == Step::Start) {
            return Ok(());
        }
        Err(Error::Astray(
            "Stasis does not protect the job: it has written no event; see the job's output".to_owned(),
        ))
    }

    /// Has bob's job take the node; its id, and when it was submitted.
    pub fn preempt(&self, node: &str) -> Result<(JobId, u64)> {
        let place = format!("--nodelist={node}");
        let args = [
            "--partition=high",
            &place,
            "--exclusive",
            "--mem=100",
            "--job-name=urgent",
            "--output=/dev/null",
        ];
        let at = now_unix_ms();
        Ok((self.cluster.sbatch("bob", &args, URGENT)?, at))
    }

    /// Follows the walk until the session is safe in the store; its image.
    pub fn until_saved(&self, screen: &Screen) -> Result<Event> {
        self.follow("the session is committed to the store", |events| {
            let last = events.last().map(|event| event.step);
            screen.now(match last {
                Some(Step::Trigger) => "frozen; CRIU dumps, and the pages are packed meanwhile",
                Some(Step::Pack) => "frozen; packed, the image is being committed",
                _ => "Slurm decides to preempt",
            });
            events.iter().find(|event| event.step == Step::Commit).cloned()
        })
    }

    /// Follows the walk until the session is being brought back; where.
    pub fn until_elsewhere(&self, screen: &Screen) -> Result<Event> {
        self.follow("the job runs on another node", |events| {
            let requeued = events.iter().any(|event| event.step == Step::Requeue);
            screen.now(if requeued { "in the queue" } else { "leaving the node" });
            events.iter().find(|event| event.restart_count > 0).cloned()
        })
    }

    /// Follows the walk until the session runs again.
    pub fn until_resumed(&self, screen: &Screen) -> Result<Event> {
        self.follow("the session runs again", |events| {
            if events.iter().any(|event| event.step == Step::Verify) {
                screen.now("the image is authentic; CRIU restores");
            }
            events.iter().find(|event| event.step == Step::Resume).cloned()
        })
    }

    /// Reads the log again and again until it has what is wanted, or shows that this will not come.
    fn follow<T>(&self, what: &'static str, mut wanted: impl FnMut(&[Event]) -> Option<T>) -> Result<T> {
        let (begun, mut asked) = (Instant::now(), Instant::now());
        while begun.elapsed() < PATIENCE {
            let events = self.events();
            if let Some(found) = wanted(&events) {
                return Ok(found);
            }
            if let Some(bad) = events.iter().find(|event| is_astray(event)) {
                return Err(Error::Astray(astray(bad)));
            }
            if asked.elapsed() > ASK_SLURM {
                asked = Instant::now();
                self.require_job(what)?;
            }
            std::thread::sleep(LOOK);
        }
        Err(Error::Late { what: format!("sign that {what}"), seconds: PATIENCE.as_secs() })
    }

    /// Fails if the job has ended, or says that it was not saved: its log may be what could not be written.
    fn require_job(&self, what: &str) -> Result<()> {
        let job = self.cluster.job(self.job)?;
        let output = self.cluster.job_output(self.job)?;
        if let Some(line) = output.lines().find(|line| line.starts_with(NOT_SAVED)) {
            return Err(Error::Astray(line.to_owned()));
        }
        if ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"].contains(&job.state()) {
            return Ok(());
        }
        Err(Error::Astray(format!("job {} is {} before {what}", self.job, job.state())))
    }
}

/// Whether an event shows that the session will not come back as it was.
fn is_astray(event: &Event) -> bool {
    let anew = event.step == Step::Start && event.restart_count > 0;
    anew || matches!(event.step, Step::Refused | Step::Failure | Step::End)
}

fn astray(event: &Event) -> String {
    let message = event.message.as_deref().unwrap_or("the log does not say why");
    let what = match event.step {
        Step::Start => "the session was started anew from its script",
        Step::Refused => "the checkpoint was refused",
        Step::End => "the session ended",
        _ => "a step of the walk failed",
    };
    format!("{what} on {}: {message}", event.node)
}

/// Wall-clock time in milliseconds since the Unix epoch; the nodes have the same.
pub fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_start_is_astray_and_the_first_start_is_not() {
        let line = r#"{"at_unix_ms":1,"job_id":1,"restart_count":0,"node":"n1","step":"start"}"#;
        let first: Event = serde_json::from_str(line).unwrap();
        let again = Event { restart_count: 1, ..first.clone() };
        assert!(!is_astray(&first) && is_astray(&again));
        assert!(astray(&again).starts_with("the session was started anew"));
    }
}
