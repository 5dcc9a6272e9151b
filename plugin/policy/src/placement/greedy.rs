//! Greedy with a safety net: Wu et al., "Can't Be Late: Optimizing Spot Instance Savings under Deadlines",
//! NSDI 2024, section 4.2. Spot whenever there is some, nothing otherwise, until the safety net holds.

use super::{Market, MarketFacts};
use serde::{Deserialize, Serialize};

/// Waits for spot until the deadline forces on demand, and then stays there. Without a deadline it waits
/// for spot for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greedy {}

impl Greedy {
    /// Where to run now; `None` to wait.
    pub fn choose(self, facts: &MarketFacts) -> Option<Market> {
        match facts.on {
            // Exploitation rule: spot is held until it is taken away.
            Some(Market::Spot) if facts.spot_available => Some(Market::Spot),
            // Nothing but the safety net goes on demand, and it goes to the end.
            Some(Market::OnDemand) => Some(Market::OnDemand),
            _ if facts.must_run_on_demand() => Some(Market::OnDemand),
            _ => facts.spot_available.then_some(Market::Spot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Work;

    #[test]
    fn it_waits_until_the_net_holds() {
        let at = |elapsed_s, on, spot_available| {
            Greedy {}.choose(&MarketFacts {
                on,
                spot_available,
                waiting_s: 0.0,
                elapsed_s,
                work: Some(Work { total_s: 100.0, done_s: 20.0, deadline_s: 120.0 }),
                changeover_s: 5.0,
                tick_s: 0.0,
            })
        };
        assert_eq!(at(0.0, None, true), Some(Market::Spot));
        assert_eq!(at(30.0, None, false), None); // 90 left for 80 + 10
        assert_eq!(at(30.1, None, false), Some(Market::OnDemand));
        assert_eq!(at(40.0, Some(Market::Spot), true), Some(Market::Spot));
        assert_eq!(at(40.0, Some(Market::OnDemand), true), Some(Market::OnDemand));
    }
}
