//! On what a session runs: which market its machine is bought on, and of what size it is. The two are
//! chosen apart and combine freely.

mod greedy;
mod on_demand_only;
mod right_size;
mod spot_first;
mod uniform_progress;

pub use greedy::Greedy;
pub use on_demand_only::OnDemandOnly;
pub use right_size::{Observed, RightSize, Size};
pub use spot_first::SpotFirst;
pub use uniform_progress::UniformProgress;

use serde::{Deserialize, Serialize};

/// Where and how large. The default buys on-demand machines as requested.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// On which market.
    pub market: MarketPolicy,
    /// Of what size.
    pub size: SizePolicy,
}

/// Where a machine is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// Full price, never taken away.
    OnDemand,
    /// Cheap, and taken away at the provider's will.
    Spot,
}

/// What a market policy may know. Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarketFacts {
    /// Where the session runs now; `None` if it has no machine.
    pub on: Option<Market>,
    /// True if a spot machine can be had now.
    pub spot_available: bool,
    /// Seconds since the session first asked for a machine in this round (at its start, or when it was
    /// suspended or preempted).
    pub waiting_s: f64,
    /// Seconds since the work began.
    pub elapsed_s: f64,
    /// The work and its deadline, if there is one.
    pub work: Option<Work>,
    /// Seconds that a change of machine costs: boot, requeue, dump and restore (d in Can't Be Late).
    pub changeover_s: f64,
    /// Seconds until this is asked again, so that a safety net is not missed in between; 0 if the caller
    /// comes back at the very moment.
    pub tick_s: f64,
}

/// Work that has to be done by a deadline, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// All of it: C(0).
    pub total_s: f64,
    /// What is done: cp(t).
    pub done_s: f64,
    /// When it must be done, counted from when the work began: R(0).
    pub deadline_s: f64,
}

impl MarketFacts {
    /// The safety net of Can't Be Late (NSDI'24, section 4.1): true when there is just enough time left to
    /// do the rest on demand with two changes of machine, R(t) < C(t) + 2d.
    pub fn must_run_on_demand(&self) -> bool {
        self.work.is_some_and(|work| {
            let left_s = work.deadline_s - self.elapsed_s;
            left_s < work.total_s - work.done_s + 2.0 * self.changeover_s + self.tick_s
        })
    }
}

/// A market policy. The default buys on demand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarketPolicy {
    /// On demand, always.
    OnDemandOnly(OnDemandOnly),
    /// Spot if there is some, on demand after a patience.
    SpotFirst(SpotFirst),
    /// Spot and nothing else, until the deadline forces on demand.
    Greedy(Greedy),
    /// Spot, and on demand whenever progress falls behind.
    UniformProgress(UniformProgress),
}

impl Default for MarketPolicy {
    fn default() -> Self {
        Self::OnDemandOnly(OnDemandOnly {})
    }
}

impl MarketPolicy {
    /// Where the session should run now; `None`: it should wait, for spot to come.
    pub fn choose(&self, facts: &MarketFacts) -> Option<Market> {
        match self {
            Self::OnDemandOnly(_) => Some(Market::OnDemand),
            Self::SpotFirst(policy) => policy.choose(facts),
            Self::Greedy(policy) => policy.choose(facts),
            Self::UniformProgress(policy) => policy.choose(facts),
        }
    }
}

/// A size policy. The default gives what was requested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizePolicy {
    /// What was requested.
    AsRequested(AsRequested),
    /// What was observed to be needed, with room to spare.
    RightSize(RightSize),
}

/// What was requested, whatever is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsRequested {}

impl Default for SizePolicy {
    fn default() -> Self {
        Self::AsRequested(AsRequested {})
    }
}

impl SizePolicy {
    /// The size to ask for, given what was requested and what was observed so far.
    pub fn choose(&self, requested: Size, observed: Option<Observed>) -> Size {
        match self {
            Self::AsRequested(_) => requested,
            Self::RightSize(policy) => policy.choose(requested, observed),
        }
    }
}
