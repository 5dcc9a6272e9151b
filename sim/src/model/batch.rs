//! Batch jobs alone on a cluster: what a scheduler does with a job log, without any session. It is what the
//! job-level peers simulate, so it is what they are compared with.

use super::cluster::{Cluster, Discipline, Request};
use crate::engine::queue::Queue;
use stasis_workloads::{Job, JobStatus, TraceError};

/// What became of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The log's number for it.
    pub id: u64,
    /// When it was submitted, in nanoseconds.
    pub submit_ns: u64,
    /// When it started.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
}

/// Runs jobs on `cores` cores and hands each outcome to `done`, in order of their ends. Holds only the
/// jobs that wait or run. Returns the number of events.
///
/// Jobs larger than the cluster are left out. A job that runs longer than its limit is ended at it.
///
/// # Errors
/// What the log's reader says.
pub fn simulate(
    jobs: impl IntoIterator<Item = Result<Job, TraceError>>,
    cores: u32,
    discipline: Discipline,
    mut done: impl FnMut(Outcome),
) -> Result<u64, TraceError> {
    let cores_milli = u64::from(cores) * 1000;
    let mut jobs = jobs.into_iter();
    let mut cluster = Cluster::new(cores_milli, discipline);
    let mut queue = Queue::default();
    let mut slots: Vec<(Job, u64)> = Vec::new();
    let mut free: Vec<u32> = Vec::new();
    let mut next = jobs.next().transpose()?;
    let mut events = 0;
    while let Some(now_ns) = earlier(next.as_ref().map(|job| job.submit_ns), queue.next_ns()) {
        while let Some(ended) = queue.next_ns().filter(|&at| at <= now_ns).and_then(|_| queue.pop()) {
            let (job, start_ns) = slots[ended.what as usize];
            done(Outcome { id: job.id, submit_ns: job.submit_ns, start_ns, end_ns: now_ns });
            cluster.release(ended.what as u32);
            free.push(ended.what as u32);
            events += 1;
        }
        while let Some(job) = next.take_if(|job| job.submit_ns <= now_ns) {
            next = jobs.next().transpose()?;
            events += 1;
            let request_milli = u64::from(job.processors) * 1000;
            if request_milli > cores_milli {
                continue;
            }
            let owner = free.pop().unwrap_or_else(|| {
                slots.push((job, 0));
                slots.len() as u32 - 1
            });
            slots[owner as usize] = (job, 0);
            cluster.submit(Request {
                owner,
                cores_milli: request_milli,
                limit_ns: job.requested_ns.max(1),
                tier: 0,
                grace_ns: None,
            });
        }
        for owner in cluster.schedule(now_ns).started {
            let (job, start_ns) = &mut slots[owner as usize];
            *start_ns = now_ns;
            queue.push(now_ns + job.run_ns.min(job.requested_ns.max(1)), u64::from(owner));
        }
    }
    Ok(events)
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A job of which nothing is given but what a queue looks at, for validation and tests.
pub(crate) fn job(id: u64, submit_ns: u64, run_ns: u64, requested_ns: u64, processors: u32) -> Job {
    Job {
        id,
        submit_ns,
        run_ns,
        requested_ns,
        wait_ns: None,
        processors,
        memory_bytes: 0,
        user: 0,
        partition: 0,
        status: JobStatus::Completed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(jobs: &[Job], cores: u32, discipline: Discipline) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        simulate(jobs.iter().copied().map(Ok), cores, discipline, |o| found.push((o.id, o.start_ns)))
            .expect("no reader to fail");
        found.sort_unstable();
        found
    }

    #[test]
    fn the_textbook_case() {
        let jobs = [job(1, 0, 10, 10, 3), job(2, 1, 10, 10, 4), job(3, 2, 5, 8, 1), job(4, 3, 9, 9, 1)];
        assert_eq!(starts(&jobs, 4, Discipline::Fifo), [(1, 0), (2, 10), (3, 20), (4, 20)]);
        // 3 ends by its limit at 10, just in time for 2; 4 would not.
        assert_eq!(starts(&jobs, 4, Discipline::EasyBackfill), [(1, 0), (2, 10), (3, 2), (4, 20)]);
    }

    proptest! {
        #[test]
        fn cores_are_never_oversold_and_the_first_is_never_delayed(
            raw in prop::collection::vec((0u64..30, 1u64..20, 0u64..10, 1u32..9), 1..60),
        ) {
            let mut at = 0;
            let jobs: Vec<Job> = raw.iter().zip(0..).map(|(&(gap, run, slack, cores), id)| {
                at += gap;
                job(id, at, run, run + slack, cores)
            }).collect();
            let mut outcomes = Vec::new();
            simulate(jobs.iter().copied().map(Ok), 8, Discipline::EasyBackfill, |o| outcomes.push(o)).expect("ok");
            prop_assert_eq!(outcomes.len(), jobs.len());
            for moment in outcomes.iter().map(|o| o.start_ns) {
                let used: u32 = outcomes.iter().filter(|o| o.start_ns <= moment && moment < o.end_ns)
                    .map(|o| jobs[o.id as usize].processors).sum();
                prop_assert!(used <= 8);
            }
            for o in &outcomes {
                prop_assert!(o.start_ns >= o.submit_ns && o.end_ns == o.start_ns + jobs[o.id as usize].run_ns);
            }
        }
    }
}
