//! When an idle session gives its node back. One small file per policy; this file lists them, and holds
//! what all share: what counts as idle, and what a suspend costs compared with waiting (ski rental's B).

mod always_on;
mod history;
mod kill_after;
mod predicted;
mod randomised_ski_rental;
mod signal;
mod ski_rental;
mod suspend_after;

pub use always_on::AlwaysOn;
pub use history::History;
pub use kill_after::KillAfter;
pub use predicted::Predicted;
pub use randomised_ski_rental::RandomisedSkiRental;
pub use signal::Signal;
pub use ski_rental::{SkiRental, cost_s};
pub use suspend_after::SuspendAfter;

use crate::Facts;
use serde::{Deserialize, Serialize};

/// An idle policy. The default keeps the node for ever.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// The node is kept.
    AlwaysOn(AlwaysOn),
    /// The session is ended after a timeout, and its memory lost.
    KillAfter(KillAfter),
    /// The session is suspended after a timeout.
    SuspendAfter(SuspendAfter),
    /// The session is suspended once waiting has cost as much as a suspend would have.
    SkiRental(SkiRental),
    /// The same with a random timeout that an adversary cannot use.
    RandomisedSkiRental(RandomisedSkiRental),
    /// The timeout follows what this user's idle periods were like.
    Predicted(Predicted),
}

impl Default for Idle {
    fn default() -> Self {
        Self::AlwaysOn(AlwaysOn {})
    }
}

impl Idle {
    /// How long a session must have been idle before it gives its node back, in seconds; `None`: for ever.
    pub fn timeout_s(&self, facts: &Facts) -> Option<f64> {
        match self {
            Self::AlwaysOn(_) => None,
            Self::KillAfter(policy) => Some(policy.after_s),
            Self::SuspendAfter(policy) => Some(policy.after_s),
            Self::SkiRental(policy) => Some(policy.timeout_s(facts)),
            Self::RandomisedSkiRental(policy) => Some(policy.timeout_s(facts)),
            Self::Predicted(policy) => Some(policy.timeout_s(facts)),
        }
    }

    /// Seconds from now until the node should be given back; 0 means now, `None` that it should not, or
    /// that the session is not idle.
    pub fn give_back_in_s(&self, facts: &Facts) -> Option<f64> {
        let idle_s = self.signal().idle_s(facts)?;
        self.timeout_s(facts).map(|timeout_s| (timeout_s - idle_s).max(0.0))
    }

    /// What this policy takes for idleness.
    pub fn signal(&self) -> Signal {
        match self {
            Self::AlwaysOn(_) => Signal::default(),
            Self::KillAfter(policy) => policy.signal,
            Self::SuspendAfter(policy) => policy.signal,
            Self::SkiRental(policy) => policy.signal,
            Self::RandomisedSkiRental(policy) => policy.signal,
            Self::Predicted(policy) => policy.signal,
        }
    }

    /// True if an image is written before the node is given back.
    pub fn keeps_memory(&self) -> bool {
        !matches!(self, Self::KillAfter(_))
    }

    /// True if [`Facts::idle_uniform`] matters.
    pub fn is_randomised(&self) -> bool {
        matches!(self, Self::RandomisedSkiRental(_))
    }

    /// True if [`Facts::predicted_idle_s`] matters.
    pub fn is_predicted(&self) -> bool {
        matches!(self, Self::Predicted(_))
    }
}

/// Ski rental's B: what a suspend and the resume that follows cost, in seconds of an idle node. The node
/// works for both (dump and restore), and the person who comes back waits for a node and for the restore;
/// one second of theirs is worth `wait_weight` seconds of the node.
pub fn break_even_s(facts: &Facts, wait_weight: f64) -> f64 {
    let person_s = facts.expected_wait_s + facts.restore_s();
    facts.dump_s() + facts.restore_s() + wait_weight * person_s
}

/// What a second of a waiting person is worth in seconds of an idle node, where nothing else is said.
/// A small cloud machine costs about 0.05 an hour and an hour of a researcher about 50; as people do
/// something else while they wait for seconds, a hundredth of that ratio.
fn ten() -> f64 {
    10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_contract::CostModel;

    #[test]
    fn break_even_counts_the_node_twice_and_the_person_once() {
        let cost =
            CostModel { dump_fixed_s: 2.0, restore_fixed_s: 3.0, requeue_s: 5.0, ..CostModel::default() };
        let facts = Facts::new(cost, 0);
        assert!((break_even_s(&facts, 0.0) - 5.0).abs() < 1e-12);
        assert!((break_even_s(&facts, 10.0) - 85.0).abs() < 1e-12);
    }
}
