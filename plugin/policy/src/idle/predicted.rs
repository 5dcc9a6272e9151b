//! Ski rental with a prediction: Purohit, Svitkina, Kumar, "Improving online algorithms via ML
//! predictions", NeurIPS 2018, algorithm 2. Trust l in (0, 1]: if the idle period is predicted to last B or
//! longer, suspend after l B, else after B / l. If the prediction is right it costs at most 1 + l times the
//! optimum, and however wrong it is, at most 1 + 1/l times.

use super::{Signal, break_even_s, ten};
use crate::Facts;
use crate::checked::{non_negative, share};
use serde::{Deserialize, Serialize};

/// Suspends early when this user's idle periods tend to be long, and late when they tend to be short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// What counts as idle.
    #[serde(default)]
    pub signal: Signal,
    /// What a second of a waiting person is worth, in seconds of an idle node.
    #[serde(default = "ten", deserialize_with = "non_negative")]
    pub wait_weight: f64,
    /// Lambda, above 0 and at most 1: near 0 the prediction is believed, at 1 it is ignored.
    #[serde(default = "half", deserialize_with = "share")]
    pub trust: f64,
}

fn half() -> f64 {
    0.5
}

impl Predicted {
    /// The timeout in seconds; plain ski rental while there is no prediction.
    pub fn timeout_s(&self, facts: &Facts) -> f64 {
        let b = break_even_s(facts, self.wait_weight);
        match facts.predicted_idle_s {
            None => b,
            Some(predicted_s) if predicted_s >= b => self.trust * b,
            Some(_) => b / self.trust,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::cost_s;
    use proptest::prelude::*;
    use stasis_contract::CostModel;

    proptest! {
        #[test]
        fn consistent_and_robust(idle in 0.01..20.0_f64, predicted in 0.01..20.0_f64, trust in 0.05..1.0_f64) {
            let facts = Facts::new(CostModel::default(), 1 << 30);
            let b = break_even_s(&facts, 10.0);
            let policy = Predicted { signal: Signal::Kernel, wait_weight: 10.0, trust };
            let ratio = |predicted: f64| {
                let facts = Facts { predicted_idle_s: Some(predicted * b), ..facts };
                cost_s(idle * b, policy.timeout_s(&facts), b) / (idle * b).min(b)
            };
            prop_assert!(ratio(predicted) <= 1.0 + 1.0 / trust + 1e-9, "robust: {}", ratio(predicted));
            prop_assert!(ratio(idle) <= 1.0 + trust + 1e-9, "consistent: {}", ratio(idle));
        }
    }
}
