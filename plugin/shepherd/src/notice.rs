//! What a signal to the batch task means, and noticing a preemption that is not announced.

use crate::life::Shepherd;
use crate::signals::REQUEST;
use slurm_sys::Slurm;
use stasis_contract::Trigger;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Slurm sends the signal before a time limit up to a minute early.
const EARLY_S: i64 = 75;
/// Never ask slurmctld more often than this.
const POLL_MIN: Duration = Duration::from_secs(1);
/// How many times slurmctld is asked within one grace time.
const POLLS_PER_GRACE: u32 = 6;

/// What to make of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A checkpoint is wanted.
    Checkpoint(Trigger),
    /// It is for the script.
    ForScript,
}

/// Asks slurmctld why the batch task was signalled.
pub fn meaning(shepherd: &Shepherd, signal: i32) -> Meaning {
    if signal == REQUEST {
        return Meaning::Checkpoint(Trigger::Request);
    }
    match shepherd.slurm.job(shepherd.handover.job_id) {
        Ok(job) if job.preempt_unix_s > 0 => Meaning::Checkpoint(Trigger::Preemption),
        Ok(job) if job.end_unix_s - now_unix_s() <= i64::from(shepherd.handover.spec.grace_s) + EARLY_S => {
            Meaning::Checkpoint(Trigger::TimeLimit)
        }
        Ok(_) => Meaning::ForScript,
        // Nobody can say. The signal that Stasis asks Slurm for most likely means what it was asked for.
        Err(_) if signal == libc::SIGUSR1 => Meaning::Checkpoint(Trigger::Preemption),
        Err(_) => Meaning::ForScript,
    }
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

    /// Looks, if it is time: whether the job is being preempted.
    pub fn look(&mut self, slurm: Slurm, job_id: u32) -> bool {
        if Instant::now() < self.next {
            return false;
        }
        self.next = Instant::now() + self.every;
        slurm.job(job_id).is_ok_and(|job| job.preempt_unix_s > 0)
    }
}
