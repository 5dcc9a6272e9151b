//! The session: what one user asked for, when it computed, how much memory it held, and when a browser
//! watched. It is what the simulator replays. It must not know how a session is written or read.

use crate::error::Invalid;
use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// A half-open span of time `[start_ns, end_ns)` in nanoseconds since the start of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// First nanosecond inside.
    pub start_ns: u64,
    /// First nanosecond after; always greater than `start_ns` in a valid session.
    pub end_ns: u64,
}

impl Interval {
    /// Its length in nanoseconds (0 if it is upside down).
    pub fn length_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// From `at_ns` on, until the next step, the session holds `bytes` of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryStep {
    /// Nanoseconds since the start of the trace.
    pub at_ns: u64,
    /// Resident memory in bytes.
    pub bytes: u64,
}

/// What the user asked the scheduler for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Thousandths of a core.
    pub cores_milli: u32,
    /// Whole GPUs.
    pub gpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// One interactive session, from the moment the user asks for it to the moment the user is done.
///
/// All times are nanoseconds since the start of the trace. The times say what the *user* does when the
/// session is never in the way: a simulated delay (queue, resume) pushes later activity back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// Unique within the trace.
    pub id: u64,
    /// The user, as a number: names are interned by the importers, in order of appearance.
    pub user: u32,
    /// When the user asked for the session.
    pub submit_ns: u64,
    /// When the user is done with it; after `submit_ns`.
    pub end_ns: u64,
    /// What the user asked for.
    pub request: Request,
    /// When the session computed (cell executions): sorted, apart, inside `[submit_ns, end_ns)`.
    pub busy: Box<[Interval]>,
    /// Memory held, as a step function: strictly rising in time, inside `[submit_ns, end_ns)`.
    /// Before the first step nothing is known to be held; empty means "as requested".
    pub memory: Box<[MemoryStep]>,
    /// When a browser was connected: sorted, apart, inside `[submit_ns, end_ns)`.
    pub connected: Box<[Interval]>,
}

impl Session {
    /// Checks every rule stated on the fields.
    ///
    /// # Errors
    /// The first rule that is broken, with the key under which the trace format carries the value.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.end_ns <= self.submit_ns {
            return Err(Invalid::new("end_s", "the session must end after it is submitted"));
        }
        if self.request.cores_milli == 0 {
            return Err(Invalid::new("cores_milli", "a session needs some of a core"));
        }
        self.validate_intervals("busy_s", &self.busy)?;
        self.validate_intervals("connected_s", &self.connected)?;
        self.validate_memory()
    }

    fn validate_intervals(&self, key: &str, intervals: &[Interval]) -> Result<(), Invalid> {
        let mut free_from_ns = self.submit_ns;
        for (index, interval) in intervals.iter().enumerate() {
            let nth = index + 1;
            if interval.end_ns <= interval.start_ns {
                return Err(Invalid::new(key, format!("interval {nth} must end after it starts")));
            }
            if interval.start_ns < free_from_ns {
                return Err(Invalid::new(key, format!("interval {nth} starts before the previous one ends")));
            }
            if interval.end_ns > self.end_ns {
                return Err(Invalid::new(key, format!("interval {nth} ends after the session")));
            }
            free_from_ns = interval.end_ns;
        }
        Ok(())
    }

    fn validate_memory(&self) -> Result<(), Invalid> {
        let mut earliest_ns = self.submit_ns;
        for (index, step) in self.memory.iter().enumerate() {
            if step.at_ns < earliest_ns || step.at_ns >= self.end_ns {
                let nth = index + 1;
                return Err(Invalid::new(
                    "memory_used_s_bytes",
                    format!("step {nth} is out of order or outside"),
                ));
            }
            earliest_ns = step.at_ns.saturating_add(1);
        }
        Ok(())
    }

    /// Nanoseconds spent computing.
    pub fn busy_ns(&self) -> u64 {
        self.busy.iter().map(Interval::length_ns).sum()
    }

    /// Nanoseconds from submission to end.
    pub fn span_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.submit_ns)
    }

    /// Bytes held at `at_ns`: the last step at or before it, or the request where none is.
    pub fn memory_at(&self, at_ns: u64) -> u64 {
        let after = self.memory.partition_point(|step| step.at_ns <= at_ns);
        after.checked_sub(1).map_or(self.request.memory_bytes, |last| self.memory[last].bytes)
    }

    /// The most bytes ever held, or the request where nothing is known.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.memory.iter().map(|step| step.bytes).max().unwrap_or(self.request.memory_bytes)
    }
}
