//! The first-order optimum for machines whose chance of failing changes with age: Young's interval with
//! 1/h(age) for the mean (Bougeret, Casanova, Rabie, Robert, Vivien, SC'11, section 4; Liu et al., IPDPS
//! 2008, arrive at the same checkpoint density sqrt(h/2d)).

use crate::checked::positive;
use crate::{Facts, Lifetime};
use serde::{Deserialize, Serialize};

/// Computes for sqrt(2 d / h(age)), at least the time of a dump, between checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hazard {
    /// How long machines live.
    pub lifetime: Lifetime,
    /// No interval is longer than this, in seconds, whatever the hazard.
    #[serde(default = "a_week", deserialize_with = "positive")]
    pub longest_s: f64,
}

fn a_week() -> f64 {
    604_800.0
}

impl Hazard {
    /// Seconds from now until unsaved work reaches the optimum for the age that the machine has *then*:
    /// the first t with (unsaved + t)^2 h(age + t) >= 2d, so that a hazard that rises is met in time.
    pub fn next_in_s(&self, facts: &Facts) -> f64 {
        let dump_s = facts.dump_s();
        let soonest_s = (dump_s - facts.unsaved_s).max(0.0);
        let latest_s = (self.longest_s - facts.unsaved_s).max(soonest_s);
        let due = |t: f64| {
            let unsaved_s = facts.unsaved_s + t;
            unsaved_s * unsaved_s * self.lifetime.hazard(facts.age_s + t) >= 2.0 * dump_s
        };
        if due(soonest_s) {
            return soonest_s;
        }
        let (mut early, mut step) = (soonest_s, dump_s.max(1e-3));
        while !due(early + step) {
            early += step;
            step *= 1.5;
            if early >= latest_s {
                return latest_s;
            }
        }
        let mut late = early + step;
        while late - early > 1e-9 * late {
            let middle = f64::midpoint(early, late);
            if due(middle) { late = middle } else { early = middle }
        }
        late.min(latest_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Young;
    use stasis_contract::CostModel;

    fn next(lifetime: Lifetime, age_s: f64) -> f64 {
        let facts = Facts { age_s, ..Facts::new(CostModel::default(), 2_000_000_000) };
        Hazard { lifetime, longest_s: 604_800.0 }.next_in_s(&facts)
    }

    #[test]
    fn without_ageing_it_is_youngs() {
        let facts = Facts::new(CostModel::default(), 2_000_000_000);
        for age_s in [0.0, 1e5] {
            let found = next(Lifetime::Exponential { mean_s: 7200.0 }, age_s);
            assert!((found - Young::optimum_s(facts.dump_s(), 7200.0)).abs() < 1e-6, "{found}");
        }
    }

    #[test]
    fn a_bathtub_is_watched_at_both_ends() {
        let law = Lifetime::Bathtub { a: 0.5, tau1_s: 3600.0, tau2_s: 2900.0, b_s: 86_400.0 };
        let (young, middle, old) = (next(law, 0.0), next(law, 40_000.0), next(law, 85_000.0));
        assert!(middle > 3.0 * young && middle > 3.0 * old, "{young} {middle} {old}");
    }

    #[test]
    fn a_hazard_that_starts_at_zero_still_leads_to_a_checkpoint() {
        let found = next(Lifetime::Weibull { shape: 2.0, scale_s: 3600.0 }, 0.0);
        assert!(found > 100.0 && found < 3600.0, "{found}");
        // and one that starts at infinity does not leave time for dumps only
        let found = next(Lifetime::Weibull { shape: 0.5, scale_s: 3600.0 }, 0.0);
        assert!(found >= CostModel::default().dump_s(2_000_000_000), "{found}");
    }
}
