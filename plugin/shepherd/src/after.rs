//! After the job has left the node: bringing it back from the queue without delay.
//!
//! slurmctld holds a requeued job for as long as a launch credential could still be valid, 121 s by default.
//! Lifting its start time once it is pending lets it start at once, on a node that is free. The wait exists so
//! that a node does not run the job twice within one second, so a second is what is waited here.

use crate::node::NodeFolder;
use slurm_sys::{Job, JobState, Slurm, SlurmError};
use stasis_contract::SiteConfig;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long slurmctld may take to turn the job pending: epilogs can be slow.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked at first; the wait doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The launch credential of the new run must be newer than the revocation of the old, in whole seconds, or the node
/// fails the job. A full second leaves room for clocks that do not agree.
const NEWER_CREDENTIAL: Duration = Duration::from_secs(1);

/// Cleans the node of the job, and if the job is to come back, sees to it.
pub fn run(job_id: u32, site: &SiteConfig) -> anyhow::Result<()> {
    let folder = NodeFolder::of(site, job_id);
    let mark = folder.requeue_mark();
    folder.remove();
    let Some(not_on) = mark else { return Ok(()) };
    sleep(NEWER_CREDENTIAL);
    bring_back(Slurm::open(), job_id, &not_on)
}

fn bring_back(slurm: Slurm, job_id: u32, not_on: &[String]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = PAUSE_MIN;
    let mut last = None;
    while Instant::now() < deadline {
        let done = slurm.job(job_id).and_then(|job| match job.state {
            JobState::Pending if !job.completing => release(slurm, &job, not_on).map(|()| true),
            JobState::Running if job.completing => Ok(false),
            JobState::Running => Ok(true),
            // The job ended before Slurm had made up its mind to requeue it.
            JobState::Ended if !job.completing => slurm.requeue(job_id).map(|()| false),
            _ => Ok(false),
        });
        match done {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => last = Some(error),
        }
        sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Err(last.map_or_else(|| anyhow::anyhow!("job {job_id} did not return to the queue"), Into::into))
}

fn release(slurm: Slurm, job: &Job, not_on: &[String]) -> Result<(), SlurmError> {
    if !not_on.is_empty() {
        let before = Some(job.excluded.as_str()).filter(|nodes| !nodes.is_empty());
        let nodes: Vec<&str> = before.into_iter().chain(not_on.iter().map(String::as_str)).collect();
        slurm.exclude_nodes(job.id, &nodes.join(","))?;
    }
    // A job that ends in its grace time counts to slurmctld as one that could not be launched, and after
    // MaxBatchRequeue of them (5) it is held. This one was saved each time; the count begins anew.
    if job.held_as_requeued_too_often {
        slurm.release(job.id)?;
    }
    slurm.start_now(job.id)
}
