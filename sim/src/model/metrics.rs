//! What one run measures: machine time and money by cause, what people felt, what the store carried. Sums
//! and histograms only, so that its size does not grow with the trace.

use crate::engine::histogram::Histogram;
use crate::model::occupancy::Occupancy;
use serde::Serialize;
use stasis_policy::placement::Market;

/// What a machine did while it was paid for, or why a session had none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Cells computed.
    Busy,
    /// Nothing computed.
    Idle,
    /// The machine booted and the session started from nothing.
    Boot,
    /// An image was written.
    Dump,
    /// An image was read.
    Restore,
    /// Work that had been lost was done again.
    Lost,
    /// The session waited for a machine; no machine is paid for.
    Queue,
}

/// All causes, in the order of their columns.
pub const CAUSES: [Cause; 7] =
    [Cause::Busy, Cause::Idle, Cause::Boot, Cause::Dump, Cause::Restore, Cause::Lost, Cause::Queue];

impl Cause {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Boot => "boot",
            Self::Dump => "dump",
            Self::Restore => "restore",
            Self::Lost => "lost",
            Self::Queue => "queue",
        }
    }
}

/// Both markets, in the order of their columns.
pub const MARKETS: [Market; 2] = [Market::OnDemand, Market::Spot];

/// Everything that one run counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    /// Nanoseconds of machines (of sessions without one: of waiting), by market and cause.
    pub machine_ns: [[u128; 7]; 2],
    /// Money, by market and cause.
    pub money: [[f64; 7]; 2],
    /// Money for bytes held in the store.
    pub store_money: f64,
    /// What always-on machines bought on demand at the requested size would have cost.
    pub baseline_money: f64,
    /// A sum of money that no policy can do without.
    pub bound_money: f64,
    /// The same with people's waiting priced in.
    pub bound_felt: f64,
    /// Price of a person's hour of waiting.
    pub wait_price_per_h: f64,
    /// Sessions that ended.
    pub sessions: u64,
    /// Sessions that waited for a machine which never came.
    pub sessions_stuck: u64,
    /// Cells that computed to their end.
    pub cells: u64,
    /// Cells that were cut short and had to start again or go on later.
    pub cells_interrupted: u64,
    /// Cells that had ended and whose outcome was lost: to be run again, if the user still comes back.
    pub cells_rerun: u64,
    /// Times that a session lost its memory with no image to go back to.
    pub sessions_killed: u64,
    /// Times that a session went back to an older image.
    pub sessions_rolled_back: u64,
    /// Computing that was thrown away.
    pub lost_ns: u128,
    /// Computing that users had planned and that never happened, because nobody brought the session back.
    pub unfinished_ns: u128,
    /// Ends of machines that were announced or happened.
    pub preemptions: u64,
    /// Dumps that a notice began, and those of them that ended too late.
    pub notice_dumps: u64,
    /// Of those, how many the end of the machine cut short.
    pub notice_dumps_late: u64,
    /// Images that were committed while the session went on.
    pub checkpoints: u64,
    /// Suspends of idle sessions.
    pub suspends: u64,
    /// Moves to a larger machine because memory had outgrown the one at hand.
    pub resizes: u64,
    /// Bytes written to the store, and read from it.
    pub written_bytes: u128,
    /// Bytes read from the store.
    pub read_bytes: u128,
    /// Most bytes held in the store at once.
    pub held_bytes_max: u64,
    /// Integral of bytes held, in byte nanoseconds.
    pub held_byte_ns: f64,
    /// Waiting for a new session to be ready.
    pub start_wait: Histogram,
    /// Waiting for a suspended session after coming back to it.
    pub resume_wait: Histogram,
    /// Standstill of sessions that were taken down while they computed or were watched.
    pub interruption: Histogram,
    /// Pauses of running cells for a checkpoint.
    pub pause: Histogram,
    /// Batch jobs that ended.
    pub batch_jobs: u64,
    /// Waiting of batch jobs.
    pub batch_wait: Histogram,
    /// Nanoseconds of core time that preempted batch jobs lost.
    pub batch_lost_core_ns: u128,
    /// How many sessions were in which state, over time.
    pub occupancy: Occupancy,
    /// When the last session ended, in nanoseconds.
    pub end_ns: u64,
    /// Events that the engine handled; stale ones are not counted.
    pub events: u64,
}

impl Metrics {
    /// All money.
    pub fn total_money(&self) -> f64 {
        self.store_money + self.money.iter().flatten().sum::<f64>()
    }

    /// Hours that people waited for sessions: to start, to come back, and while they stood still.
    pub fn waited_h(&self) -> f64 {
        (self.start_wait.sum_s() + self.resume_wait.sum_s() + self.interruption.sum_s()) / 3600.0
    }

    /// Money with people's waiting priced in.
    pub fn felt_money(&self) -> f64 {
        self.total_money() + self.waited_h() * self.wait_price_per_h
    }

    /// Books machine time.
    pub(crate) fn book(&mut self, market: Market, cause: Cause, ns: u64, rate_per_h: f64) {
        self.machine_ns[market as usize][cause as usize] += u128::from(ns);
        self.money[market as usize][cause as usize] += rate_per_h * (ns as f64 / 3.6e12);
    }

    /// Hours of machines booked under a cause, on both markets.
    pub fn hours(&self, cause: Cause) -> f64 {
        self.machine_ns.iter().map(|row| row[cause as usize] as f64).sum::<f64>() / 3.6e12
    }

    /// Money booked under a cause, on both markets.
    pub fn money_of(&self, cause: Cause) -> f64 {
        self.money.iter().map(|row| row[cause as usize]).sum()
    }

    /// The figures that are compared and given intervals, by name.
    pub fn scalars(&self) -> Vec<(&'static str, f64)> {
        let total = self.total_money();
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { f64::NAN };
        let per_1000 = |count: u64| ratio(1000.0 * count as f64, self.sessions as f64);
        let mut list = vec![
            ("money", total),
            ("money_per_session", ratio(total, self.sessions as f64)),
            ("saved_factor", ratio(self.baseline_money, total)),
            ("money_over_bound", ratio(total, self.bound_money)),
            ("felt_money", self.felt_money()),
            ("felt_over_bound", ratio(self.felt_money(), self.bound_felt)),
            ("start_wait_p50_s", self.start_wait.percentile_s(0.5)),
            ("start_wait_p99_s", self.start_wait.percentile_s(0.99)),
            ("resume_wait_p50_s", self.resume_wait.percentile_s(0.5)),
            ("resume_wait_p95_s", self.resume_wait.percentile_s(0.95)),
            ("resume_wait_p99_s", self.resume_wait.percentile_s(0.99)),
            ("interruption_p95_s", self.interruption.percentile_s(0.95)),
            ("waited_h", self.waited_h()),
            ("lost_busy_s", self.lost_ns as f64 / 1e9),
            ("interrupted_cells_per_1000_sessions", per_1000(self.cells_interrupted)),
            ("rerun_cells_per_1000_sessions", per_1000(self.cells_rerun)),
            ("killed_per_1000_sessions", per_1000(self.sessions_killed)),
            ("preemptions", self.preemptions as f64),
            ("late_dump_share", ratio(self.notice_dumps_late as f64, self.notice_dumps as f64)),
            ("checkpoints", self.checkpoints as f64),
            ("suspends", self.suspends as f64),
            ("resizes", self.resizes as f64),
            ("written_gb", self.written_bytes as f64 / 1e9),
            ("read_gb", self.read_bytes as f64 / 1e9),
            ("held_gb_max", self.held_bytes_max as f64 / 1e9),
            ("store_money", self.store_money),
        ];
        for cause in CAUSES {
            list.push((hours_name(cause), self.hours(cause)));
        }
        if self.batch_jobs > 0 {
            list.push(("batch_wait_mean_s", self.batch_wait.summary().mean_s));
            list.push(("batch_lost_core_h", self.batch_lost_core_ns as f64 / 3.6e12));
        }
        list
    }
}

fn hours_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Busy => "busy_h",
        Cause::Idle => "idle_h",
        Cause::Boot => "boot_h",
        Cause::Dump => "dump_h",
        Cause::Restore => "restore_h",
        Cause::Lost => "lost_h",
        Cause::Queue => "queue_h",
    }
}
