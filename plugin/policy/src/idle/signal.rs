//! What counts as idle. A kernel that computes without a browser is work to some sites and waste to
//! others, and a browser tab left open over the weekend is a person to some and nobody to others: the
//! choice moves the savings more than any timeout, so it is part of the policy.

use crate::Facts;
use serde::{Deserialize, Serialize};

/// What an idle policy watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Idle is when nothing computes, whoever watches.
    #[default]
    Kernel,
    /// Idle is when no browser is connected, even if something computes: the computation is suspended and
    /// goes on when the user is back.
    Browser,
    /// Idle is when nothing computes and no browser is connected.
    Both,
}

impl Signal {
    /// Seconds for which the session has been idle; `None` if it is not.
    pub fn idle_s(self, facts: &Facts) -> Option<f64> {
        let kernel_s = if facts.busy { 0.0 } else { facts.kernel_idle_s };
        let watched = facts.browser_away_s <= 0.0;
        match self {
            Self::Kernel => (!facts.busy).then_some(kernel_s),
            Self::Browser => (!watched).then_some(facts.browser_away_s),
            Self::Both => (!facts.busy && !watched).then_some(kernel_s.min(facts.browser_away_s)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_contract::CostModel;

    #[test]
    fn the_three_signals_differ_where_kernel_and_browser_do() {
        let at = |busy, kernel_idle_s, browser_away_s| {
            let facts = Facts { busy, kernel_idle_s, browser_away_s, ..Facts::new(CostModel::default(), 0) };
            [Signal::Kernel, Signal::Browser, Signal::Both].map(|signal| signal.idle_s(&facts))
        };
        assert_eq!(at(true, 0.0, 0.0), [None, None, None]);
        assert_eq!(at(true, 0.0, 50.0), [None, Some(50.0), None]);
        assert_eq!(at(false, 20.0, 0.0), [Some(20.0), None, None]);
        assert_eq!(at(false, 20.0, 50.0), [Some(20.0), Some(50.0), Some(20.0)]);
    }
}
