//! A random timeout: with density exp(x/B) / (B (e - 1)) on [0, B], no idle period costs more than
//! e/(e - 1) = 1.582 times the optimum in expectation, and nothing does better (Karlin, Manasse, McGeoch,
//! Owicki, "Competitive randomized algorithms for nonuniform problems", Algorithmica 11, 1994).

use super::{Signal, break_even_s, ten};
use crate::Facts;
use crate::checked::non_negative;
use serde::{Deserialize, Serialize};
use std::f64::consts::E;

/// Suspends after a random part of [`break_even_s`], drawn once per idle period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomisedSkiRental {
    /// What counts as idle.
    #[serde(default)]
    pub signal: Signal,
    /// What a second of a waiting person is worth, in seconds of an idle node.
    #[serde(default = "ten", deserialize_with = "non_negative")]
    pub wait_weight: f64,
}

impl RandomisedSkiRental {
    /// The timeout in seconds, by inversion: B ln(1 + u (e - 1)) of [`Facts::idle_uniform`].
    pub fn timeout_s(&self, facts: &Facts) -> f64 {
        break_even_s(facts, self.wait_weight) * (facts.idle_uniform * (E - 1.0)).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::cost_s;
    use stasis_contract::CostModel;

    #[test]
    fn in_expectation_it_costs_e_over_e_minus_one_times_the_optimum() {
        const DRAWS: u32 = 20_000;
        let facts = Facts::new(CostModel::default(), 1 << 30);
        let policy = RandomisedSkiRental { signal: Signal::Kernel, wait_weight: 10.0 };
        let b = break_even_s(&facts, 10.0);
        for part in [0.1, 0.5, 0.9, 1.0, 3.0] {
            let total: f64 = (0..DRAWS)
                .map(|i| (f64::from(i) + 0.5) / f64::from(DRAWS))
                .map(|u| cost_s(part * b, policy.timeout_s(&Facts { idle_uniform: u, ..facts }), b))
                .sum();
            let ratio = total / f64::from(DRAWS) / (part * b).min(b);
            assert!((ratio - E / (E - 1.0)).abs() < 1e-3, "idle {part} B: {ratio}");
        }
    }
}
