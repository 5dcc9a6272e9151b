//! Jobs as a suite sees them: submit, ask, wait. Everything goes through Slurm's own commands on the controller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::wait::{wait_for, wait_until};

/// The number that Slurm gave a job. A requeued job keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What `scontrol show job` told of a job.
#[derive(Debug, Clone)]
pub struct Job {
    fields: BTreeMap<String, String>,
}

impl Job {
    /// Reads the one line that `scontrol -o show job` prints. A value may have spaces: a field begins at a word
    /// that is a name followed by `=`.
    fn parse(line: &str) -> Self {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut current = String::new();
        for word in line.split_whitespace() {
            match word.split_once('=').filter(|(name, _)| is_field_name(name)) {
                Some((name, value)) => {
                    name.clone_into(&mut current);
                    fields.entry(current.clone()).or_insert_with(|| value.to_owned());
                }
                None => {
                    if let Some(value) = fields.get_mut(&current) {
                        value.push(' ');
                        value.push_str(word);
                    }
                }
            }
        }
        Self { fields }
    }

    /// A field as Slurm names it: `Reason`, `Restarts`, `BatchHost`, ...
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// `PENDING`, `RUNNING`, `COMPLETING`, `COMPLETED`, `CANCELLED`, `FAILED`, ...
    pub fn state(&self) -> &str {
        self.field("JobState").unwrap_or("UNKNOWN")
    }

    /// How often it was requeued and started again.
    pub fn restarts(&self) -> u32 {
        self.field("Restarts").and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// The node that it runs on, or ran on last.
    pub fn node(&self) -> Option<&str> {
        self.field("BatchHost")
            .or_else(|| self.field("NodeList"))
            .filter(|node| *node != "(null)" && !node.is_empty())
    }
}

fn is_field_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "/:_".contains(c))
}

impl Cluster {
    /// Submits a batch script as `user`, from that user's home on the controller.
    ///
    /// # Errors
    /// When sbatch refuses it; the error has what it said.
    pub fn sbatch(&self, user: &str, args: &[&str], script: &str) -> Result<JobId> {
        let argv = [&["sbatch", "--parsable"], args].concat();
        let output = self.node("ctl")?.exec_with(user, &argv, script.as_bytes())?.checked("submit a job")?;
        let bad = || Error::Parse { what: "a job id", text: output.stdout.clone() };
        output.stdout.trim().split(';').next().and_then(|id| id.parse().ok()).map(JobId).ok_or_else(bad)
    }

    /// What Slurm knows of a job.
    ///
    /// # Errors
    /// When the controller does not answer or has forgotten the job.
    pub fn job(&self, id: JobId) -> Result<Job> {
        let argv = ["scontrol", "-o", "show", "job", &id.to_string()];
        let output = self.exec("ctl", "root", &argv)?.checked(format!("look at job {id}"))?;
        Ok(Job::parse(&output.stdout))
    }

    /// A job's state: see [`Job::state`].
    ///
    /// # Errors
    /// As [`Cluster::job`].
    pub fn job_state(&self, id: JobId) -> Result<String> {
        Ok(self.job(id)?.state().to_owned())
    }

    /// Waits until a job is as `wanted` says.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the job as it was seen last.
    pub fn wait_job(
        &self,
        id: JobId,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&Job) -> bool,
    ) -> Result<Job> {
        wait_for(&format!("job {id} to be {what}"), timeout, || {
            let job = self.job(id)?;
            if wanted(&job) {
                return Ok(Some(job));
            }
            let field = |name| job.field(name).unwrap_or_default().to_owned();
            let seen = format!("{} ({}), restarts {}", job.state(), field("Reason"), job.restarts());
            Err(Error::Spec(seen))
        })
    }

    /// Waits until a job is in a state.
    ///
    /// # Errors
    /// As [`Cluster::wait_job`].
    pub fn wait_job_state(&self, id: JobId, state: &str, timeout: Duration) -> Result<Job> {
        self.wait_job(id, state, timeout, |job| job.state() == state)
    }

    /// What a job printed so far, if its output file is below `/home` or `/shared`; nothing if there is none yet.
    ///
    /// # Errors
    /// When the job is forgotten, or its output is elsewhere.
    pub fn job_output(&self, id: JobId) -> Result<String> {
        let job = self.job(id)?;
        let path = job.field("StdOut").unwrap_or_default().to_owned();
        let host =
            self.host_path(&path).ok_or(Error::Parse { what: "a path on a shared disk", text: path })?;
        match std::fs::read(&host) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(Error::io("read", host)(error)),
        }
    }

    /// Lets a user's pending job start, but not within the second in which its last run may have ended: the node would
    /// take the launch's credential for the one that was revoked then, and fail the job.
    ///
    /// # Errors
    /// When the second does not pass, or `scontrol` refuses.
    pub fn start_now(&self, user: &str, id: JobId) -> Result<()> {
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let ended = second();
        wait_until("the next second", Duration::from_secs(5), || Ok(second() > ended))?;
        let words = ["scontrol", "update", &format!("JobId={id}"), "StartTime=now"];
        self.exec("ctl", user, &words)?.checked("start a job now").map(drop)
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// When scancel fails.
    pub fn cancel(&self, id: JobId) -> Result<()> {
        let output = self.exec("ctl", "root", &["scancel", &id.to_string()])?;
        output.checked(format!("cancel job {id}")).map(drop)
    }

    /// Where the host has a path of the nodes, if that is on a shared disk.
    pub fn host_path(&self, path: &str) -> Option<PathBuf> {
        let home = path.strip_prefix("/home/").map(|rest| self.host_dir_home().join(rest));
        home.or_else(|| path.strip_prefix("/shared/").map(|rest| self.host_dir_shared().join(rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_spaces_stays_whole() {
        let job = Job::parse(
            "JobId=7 JobName=a b UserId=alice(2001) JobState=PENDING Reason=BeginTime Restarts=2 \
             NumNodes=1-1 Command=/bin/x --key=1 StdOut=/home/alice/slurm-7.out NodeList=(null)",
        );
        assert_eq!(job.field("JobName"), Some("a b"));
        assert_eq!(job.field("Command"), Some("/bin/x --key=1"));
        assert_eq!((job.state(), job.restarts(), job.node()), ("PENDING", 2, None));
    }
}
