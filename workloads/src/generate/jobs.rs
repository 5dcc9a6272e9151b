//! Generated batch jobs: enough like a log (bursts of small jobs, few large ones, limits that users
//! overestimate; Mu'alem and Feitelson 2001) to exercise queueing and backfill, and no more.

use super::arrivals::Arrivals;
use super::spec::JobSpec;
use crate::error::Invalid;
use crate::job::{Job, JobStatus};
use crate::law::seconds_to_ns;
use crate::session::NS_PER_S;
use crate::streams::{Purpose, stream};

const JOB: Purpose = Purpose::named("workloads/job");

/// Arrival processes of jobs, told apart from those of sessions.
const ENTITY: u64 = 1;

/// The longest run, in seconds (a year).
const LONGEST_S: f64 = 365.0 * 86_400.0;

/// The jobs of one replication in order of submission, in whole seconds as job logs have them; ids from 1.
///
/// # Errors
/// The specification is out of range.
pub fn jobs(
    spec: &JobSpec,
    seed: u64,
    replication: u64,
) -> Result<impl Iterator<Item = Job> + use<>, Invalid> {
    spec.validate()?;
    let arrivals = Arrivals::new(&spec.arrivals, seed, replication, ENTITY)?;
    let spec = spec.clone();
    Ok((1..).zip(arrivals).map(move |(id, submit_ns)| job(&spec, id, submit_ns, seed, replication)))
}

fn job(spec: &JobSpec, id: u64, submit_ns: u64, seed: u64, replication: u64) -> Job {
    let mut draw = stream(seed, replication, id, JOB);
    let whole_s = |seconds: f64| seconds_to_ns(seconds.clamp(1.0, LONGEST_S).ceil());
    let run_s = spec.run.sample_s(&mut draw);
    let factor = 1.0 + draw.uniform() * (spec.overestimate_max - 1.0);
    // Sizes are powers of two, each half as likely as the one below.
    let doublings = (-draw.uniform().log2()).floor().min(31.0) as u32;
    Job {
        id,
        submit_ns: submit_ns / NS_PER_S * NS_PER_S,
        run_ns: whole_s(run_s),
        requested_ns: whole_s(run_s.clamp(1.0, LONGEST_S).ceil() * factor),
        wait_ns: None,
        processors: (1_u32 << doublings).min(spec.processors_max),
        memory_bytes: 0,
        user: draw.below(u64::from(spec.arrivals.users)) as u32,
        partition: 0,
        status: JobStatus::Completed,
    }
}
