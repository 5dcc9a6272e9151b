//! Spot capacity over time: how many instances a cloud would have given, tick by tick, held as steps
//! because availability changes rarely. It must not know how a trace is written or read.

use crate::error::Invalid;
use serde::{Deserialize, Serialize};

/// From `at_ns` on, until the next step, `instances` can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SpotStep {
    /// Nanoseconds since the start of the trace.
    pub at_ns: u64,
    /// Instances available.
    pub instances: u32,
}

/// Availability of spot instances over the length of one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotTrace {
    gap_ns: u64,
    ticks: u64,
    steps: Vec<SpotStep>,
}

impl SpotTrace {
    /// An empty trace whose ticks are `gap_ns` nanoseconds apart.
    ///
    /// # Errors
    /// A gap of zero.
    pub fn new(gap_ns: u64) -> Result<Self, Invalid> {
        if gap_ns == 0 {
            return Err(Invalid::new("gap_seconds", "the gap between ticks must be positive"));
        }
        Ok(Self { gap_ns, ticks: 0, steps: Vec::new() })
    }

    /// Appends one tick.
    ///
    /// # Errors
    /// A trace longer than 2^64 nanoseconds (584 years).
    pub fn push(&mut self, instances: u32) -> Result<(), Invalid> {
        self.push_many(instances, 1)
    }

    /// Appends `count` equal ticks.
    ///
    /// # Errors
    /// A trace longer than 2^64 nanoseconds (584 years).
    pub fn push_many(&mut self, instances: u32, count: u64) -> Result<(), Invalid> {
        let ticks = self.ticks.checked_add(count).filter(|ticks| ticks.checked_mul(self.gap_ns).is_some());
        let ticks = ticks.ok_or_else(|| Invalid::new("data", "the trace is longer than 584 years"))?;
        if count > 0 && self.steps.last().is_none_or(|last| last.instances != instances) {
            self.steps.push(SpotStep { at_ns: self.length_ns(), instances });
        }
        self.ticks = ticks;
        Ok(())
    }

    /// Nanoseconds between ticks.
    pub fn gap_ns(&self) -> u64 {
        self.gap_ns
    }

    /// How many ticks there are.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    /// The length in nanoseconds.
    pub fn length_ns(&self) -> u64 {
        self.ticks * self.gap_ns
    }

    /// The changes of availability, in order of time; the first is at 0 unless the trace is empty.
    pub fn steps(&self) -> &[SpotStep] {
        &self.steps
    }

    /// Instances available at `at_ns`; 0 outside the trace.
    pub fn at(&self, at_ns: u64) -> u32 {
        if at_ns >= self.length_ns() {
            return 0;
        }
        let after = self.steps.partition_point(|step| step.at_ns <= at_ns);
        after.checked_sub(1).map_or(0, |last| self.steps[last].instances)
    }

    /// When availability changes next after `at_ns`, if it does before the trace ends.
    pub fn next_change_ns(&self, at_ns: u64) -> Option<u64> {
        let after = self.steps.partition_point(|step| step.at_ns <= at_ns);
        self.steps.get(after).map(|step| step.at_ns)
    }

    /// The ticks one by one, as they would be written.
    pub fn iter_ticks(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.ticks).map(|tick| self.at(tick * self.gap_ns))
    }
}
