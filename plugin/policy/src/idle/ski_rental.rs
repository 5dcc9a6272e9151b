//! Waiting costs rent, a suspend is the purchase: wait exactly as long as the rent equals the price B, and
//! no idle period costs more than twice what it would have with foresight (Karlin, Manasse, Rudolph,
//! Sleator, "Competitive snoopy caching", Algorithmica 3, 1988). No deterministic timeout does better.

use super::{Signal, break_even_s, ten};
use crate::Facts;
use crate::checked::non_negative;
use serde::{Deserialize, Serialize};

/// Suspends after [`break_even_s`] of idleness.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkiRental {
    /// What counts as idle.
    #[serde(default)]
    pub signal: Signal,
    /// What a second of a waiting person is worth, in seconds of an idle node.
    #[serde(default = "ten", deserialize_with = "non_negative")]
    pub wait_weight: f64,
}

impl SkiRental {
    /// The timeout in seconds.
    pub fn timeout_s(&self, facts: &Facts) -> f64 {
        break_even_s(facts, self.wait_weight)
    }
}

/// What an idle period of `idle_s` costs with a timeout, in seconds of an idle node, `b_s` being the price
/// of a suspend: the cost that all competitive ratios here speak of.
pub fn cost_s(idle_s: f64, timeout_s: f64, b_s: f64) -> f64 {
    if idle_s < timeout_s { idle_s } else { timeout_s + b_s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stasis_contract::CostModel;

    proptest! {
        #[test]
        fn it_never_costs_more_than_twice_the_optimum(idle in 0.0..1e6_f64, bytes in 0u64..1 << 40) {
            let facts = Facts::new(CostModel::default(), bytes);
            let b = break_even_s(&facts, 10.0);
            let timeout = SkiRental { signal: Signal::Kernel, wait_weight: 10.0 }.timeout_s(&facts);
            prop_assert!(cost_s(idle, timeout, b) <= 2.0 * idle.min(b) * (1.0 + 1e-12));
        }
    }
}
