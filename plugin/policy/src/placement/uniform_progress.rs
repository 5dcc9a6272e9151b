//! Uniform progress: Wu et al., "Can't Be Late", NSDI 2024, section 4.3. Work should be done at the even
//! pace C(0)/R(0); behind it, on-demand machines catch up, ahead of it, cheap spot is waited for. Its cost
//! is within k - O(d) of the optimum, k being the price ratio of on demand to spot.

use super::{Market, MarketFacts};
use serde::{Deserialize, Serialize};

/// Spot whenever there is some, on demand whenever progress falls behind an even pace. Without a deadline
/// it is [`SpotFirst`](super::SpotFirst) without patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UniformProgress {}

impl UniformProgress {
    /// Where to run now; `None` to wait.
    pub fn choose(self, facts: &MarketFacts) -> Option<Market> {
        let Some(work) = facts.work else {
            let fresh = if facts.spot_available { Market::Spot } else { Market::OnDemand };
            return Some(facts.on.unwrap_or(fresh));
        };
        let expected = |t_s: f64| t_s.min(work.deadline_s) * work.total_s / work.deadline_s;
        let spot = facts.spot_available.then_some(Market::Spot);
        match facts.on {
            Some(Market::Spot) if facts.spot_available => Some(Market::Spot),
            Some(Market::OnDemand) => {
                // Hysteresis: leave only with enough of a lead to pay for coming back, and only for spot.
                let lead = work.done_s >= expected(facts.elapsed_s + 2.0 * facts.changeover_s);
                if lead && !facts.must_run_on_demand() { spot.or(Some(Market::OnDemand)) } else { facts.on }
            }
            _ if facts.must_run_on_demand() => Some(Market::OnDemand),
            _ if spot.is_some() => spot,
            _ => (work.done_s < expected(facts.elapsed_s)).then_some(Market::OnDemand),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Work;

    fn at(on: Option<Market>, spot_available: bool, elapsed_s: f64, done_s: f64) -> Option<Market> {
        UniformProgress {}.choose(&MarketFacts {
            on,
            spot_available,
            waiting_s: 0.0,
            elapsed_s,
            work: Some(Work { total_s: 100.0, done_s, deadline_s: 200.0 }),
            changeover_s: 5.0,
            tick_s: 0.0,
        })
    }

    #[test]
    fn the_papers_rules() {
        use Market::{OnDemand, Spot};
        assert_eq!(at(None, true, 10.0, 5.0), Some(Spot));
        assert_eq!(at(None, false, 10.0, 5.0), None); // on pace: wait
        assert_eq!(at(None, false, 10.0, 4.9), Some(OnDemand)); // behind
        assert_eq!(at(Some(OnDemand), true, 10.0, 9.9), Some(OnDemand)); // lead of less than 2d
        assert_eq!(at(Some(OnDemand), true, 10.0, 10.0), Some(Spot));
        assert_eq!(at(Some(OnDemand), false, 10.0, 10.0), Some(OnDemand)); // stays while there is no spot
        assert_eq!(at(Some(Spot), true, 10.0, 0.0), Some(Spot)); // exploitation
        assert_eq!(at(None, true, 150.0, 45.0), Some(OnDemand)); // the net: 50 left for 55 + 10
    }
}
