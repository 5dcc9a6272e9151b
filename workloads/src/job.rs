//! The batch job: what a scheduler log records of one job. It is what queueing and backfill are
//! simulated on. It must not know how a job is written or read.

use crate::error::Invalid;
use crate::session::{Interval, Request, Session};
use serde::{Deserialize, Serialize};

/// How a job ended, as far as the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    /// It ran to its end (SWF status 1).
    Completed,
    /// It failed by itself or with its node (SWF status 0).
    Failed,
    /// Somebody cancelled it (SWF status 5).
    Cancelled,
    /// It reached its time limit.
    TimedOut,
    /// A more important job took its place.
    Preempted,
    /// The log does not say, or it had not ended yet.
    Unknown,
}

/// One batch job. Times are nanoseconds since the start of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// The log's number for it.
    pub id: u64,
    /// When it was submitted.
    pub submit_ns: u64,
    /// How long it ran.
    pub run_ns: u64,
    /// How long its user said it might run; `run_ns` where the log has no limit.
    pub requested_ns: u64,
    /// How long it had waited in the real system, if the log tells.
    pub wait_ns: Option<u64>,
    /// Processors it occupied; at least 1.
    pub processors: u32,
    /// Memory of the whole job in bytes; 0 where the log does not tell.
    pub memory_bytes: u64,
    /// The user, as a number.
    pub user: u32,
    /// The partition or queue, as a number.
    pub partition: u32,
    /// How it ended.
    pub status: JobStatus,
}

impl Job {
    /// The job as a session that is busy from submission to end, with nobody watching.
    ///
    /// # Errors
    /// A job that never ran (`run_ns` = 0) makes no session.
    pub fn to_session(&self) -> Result<Session, Invalid> {
        let end_ns = self.submit_ns.saturating_add(self.run_ns);
        let session = Session {
            id: self.id,
            user: self.user,
            submit_ns: self.submit_ns,
            end_ns,
            request: Request {
                cores_milli: self.processors.saturating_mul(1000),
                gpus: 0,
                memory_bytes: self.memory_bytes,
            },
            busy: Box::new([Interval { start_ns: self.submit_ns, end_ns }]),
            memory: Box::default(),
            connected: Box::default(),
        };
        session.validate().map(|()| session)
    }
}
