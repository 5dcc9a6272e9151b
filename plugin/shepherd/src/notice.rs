//! What a signal to the batch task means, and noticing a preemption that is not announced.

use crate::life::Shepherd;
use crate::signals::REQUEST;
use slurm_sys::{Job, Slurm};
use stasis_contract::Trigger;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Slurm sends the signal before a time limit up to a minute early.
const EARLY_S: i64 = 75;
/// Never ask slurmctld more often than this.
const POLL_MIN: Duration = Duration::from_secs(1);
/// How many times slurmctld is asked within one grace time.
const POLLS_PER_GRACE: u32 = 6;

/// What to make of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    /// A checkpoint is wanted, and the session is to go on.
    Request,
    /// The session's time on the node ends.
    Ends {
        /// Why.
        trigger: Trigger,
        /// Seconds that are left.
        left_s: f64,
    },
    /// It is for the script.
    ForScript,
}

/// Asks slurmctld why the batch task was signalled.
pub fn meaning(shepherd: &Shepherd, signal: i32) -> Meaning {
    if signal == REQUEST {
        return Meaning::Request;
    }
    let grace_s = shepherd.handover.spec.grace_s;
    match shepherd.slurm.job(shepherd.handover.job_id) {
        Ok(job) => ending(&job, grace_s)
            .map_or(Meaning::ForScript, |(trigger, left_s)| Meaning::Ends { trigger, left_s }),
        // Nobody can say. The signal that Stasis asks Slurm for most likely means what it was asked for.
        Err(_) if signal == libc::SIGUSR1 => {
            Meaning::Ends { trigger: Trigger::Preemption, left_s: f64::from(grace_s) }
        }
        Err(_) => Meaning::ForScript,
    }
}

/// Whether the job's record says that its time ends soon, and in how many seconds.
fn ending(job: &Job, grace_s: u32) -> Option<(Trigger, f64)> {
    // A session that cannot come back is not taken off its node before its time.
    if !job.may_requeue {
        return None;
    }
    let left_s = job.end_unix_s - now_unix_s();
    let trigger = match job.preempt_unix_s {
        1.. => Trigger::Preemption,
        _ if left_s <= i64::from(grace_s) + EARLY_S => Trigger::TimeLimit,
        _ => return None,
    };
    Some((trigger, left_s as f64))
}

fn now_unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Looks for a preemption now and then where the site does not announce it (`send_user_signal` is not set): often
/// enough to notice within a quarter of the grace time, and no more often, for slurmctld's sake.
#[derive(Debug)]
pub struct Watch {
    every: Duration,
    next: Instant,
}

impl Watch {
    /// `None` where the site announces preemptions, or gives no grace time to act in.
    pub fn start(slurm: Slurm, job_id: u32) -> Option<Self> {
        let site = slurm.site().ok()?;
        if site.preempt_parameters.split(',').any(|word| word.trim() == "send_user_signal") {
            return None;
        }
        let partition = slurm.job(job_id).ok()?.partition;
        let grace_s = slurm.grace_s(&partition).ok().filter(|grace_s| *grace_s > 0)?;
        let every = (Duration::from_secs(grace_s.into()) / POLLS_PER_GRACE).max(POLL_MIN);
        Some(Self { every, next: Instant::now() + every })
    }

    /// When to look next.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time: the seconds that are left to a job that is being preempted.
    pub fn look(&mut self, slurm: Slurm, job_id: u32) -> Option<f64> {
        if Instant::now() < self.next {
            return None;
        }
        self.next = Instant::now() + self.every;
        let job = slurm.job(job_id).ok().filter(|job| job.preempt_unix_s > 0 && job.may_requeue)?;
        Some((job.end_unix_s - now_unix_s()) as f64)
    }
}
