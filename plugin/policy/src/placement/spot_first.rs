//! For sessions with a person in front and no deadline: spot if there is some, on demand after a patience.

use super::{Market, MarketFacts};
use crate::checked::non_negative;
use serde::{Deserialize, Serialize};

/// Takes spot if there is some; without, waits for it for `wait_s` and then buys on demand. A session that
/// has a machine stays on it until it is taken away or given back.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpotFirst {
    /// Patience in seconds.
    #[serde(default, deserialize_with = "non_negative")]
    pub wait_s: f64,
}

impl SpotFirst {
    /// Where to run now; `None` to wait.
    pub fn choose(&self, facts: &MarketFacts) -> Option<Market> {
        match facts.on {
            Some(market) => Some(market),
            None if facts.must_run_on_demand() => Some(Market::OnDemand),
            None if facts.spot_available => Some(Market::Spot),
            None if facts.waiting_s >= self.wait_s => Some(Market::OnDemand),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_and_then_on_demand() {
        let policy = SpotFirst { wait_s: 60.0 };
        let facts = MarketFacts {
            on: None,
            spot_available: false,
            waiting_s: 59.0,
            elapsed_s: 0.0,
            work: None,
            changeover_s: 10.0,
            tick_s: 0.0,
        };
        assert_eq!(policy.choose(&facts), None);
        assert_eq!(policy.choose(&MarketFacts { waiting_s: 60.0, ..facts }), Some(Market::OnDemand));
        assert_eq!(policy.choose(&MarketFacts { spot_available: true, ..facts }), Some(Market::Spot));
        assert_eq!(
            policy.choose(&MarketFacts { on: Some(Market::OnDemand), ..facts }),
            Some(Market::OnDemand)
        );
    }
}
