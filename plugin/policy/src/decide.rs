//! One policy: a timing, an idle and a placement rule, and how their answers become one decision. This is
//! the only place that ranks them, so that the shepherd and the simulator never can rank them differently.

use crate::{Facts, Idle, Placement, Timing};
use serde::{Deserialize, Serialize};
use stasis_contract::Trigger;

/// What to do with a session now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Let it run.
    Continue {
        /// Ask again after so many seconds, unless something happens before; `None`: only when it does.
        look_again_in_s: Option<f64>,
    },
    /// Write an image and let the session go on.
    Checkpoint {
        /// Why.
        trigger: Trigger,
    },
    /// Write an image, then give the node back.
    Suspend {
        /// Why.
        trigger: Trigger,
    },
    /// Give the node back without an image: the session's memory is lost.
    Kill,
}

/// Everything that decides about one session.
///
/// The default dumps on notice, never gives an idle node back, and buys on-demand machines as requested.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// When images are written.
    pub timing: Timing,
    /// When an idle session gives its node back.
    pub idle: Idle,
    /// On what the session runs.
    pub placement: Placement,
}

impl Policy {
    /// What to do now. A notice outranks idleness, and idleness outranks the interval: a suspend writes an
    /// image anyway.
    pub fn decide(&self, facts: &Facts) -> Decision {
        if let Some(notice) = facts.notice {
            match self.timing.dump_on_notice_in_s(facts, notice.left_s) {
                Some(wait_s) if wait_s <= 0.0 => return Decision::Suspend { trigger: notice.trigger },
                Some(wait_s) => return Decision::Continue { look_again_in_s: Some(wait_s) },
                None => {}
            }
        }
        let idle_in_s = self.idle.give_back_in_s(facts);
        if idle_in_s.is_some_and(|s| s <= 0.0) {
            return if self.idle.keeps_memory() {
                Decision::Suspend { trigger: Trigger::Idle }
            } else {
                Decision::Kill
            };
        }
        let checkpoint_in_s = self.timing.next_checkpoint_in_s(facts);
        match checkpoint_in_s {
            Some(s) if s <= 0.0 => Decision::Checkpoint { trigger: Trigger::Interval },
            // The work that the interval counts stands still while the session is idle.
            Some(s) if facts.busy => Decision::Continue { look_again_in_s: Some(sooner(idle_in_s, s)) },
            _ => Decision::Continue { look_again_in_s: idle_in_s },
        }
    }
}

fn sooner(a: Option<f64>, b: f64) -> f64 {
    a.map_or(b, |a| a.min(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Notice;
    use stasis_contract::CostModel;

    fn facts() -> Facts {
        Facts::new(CostModel::default(), 1_000_000_000)
    }

    fn policy(toml: &str) -> Policy {
        toml::from_str(toml).expect("a policy")
    }

    #[test]
    fn a_notice_outranks_idleness_and_idleness_outranks_the_interval() {
        let policy = policy(
            "timing.notice-and-interval = { interval.fixed = { interval_s = 60 } }\n\
             idle.suspend-after = { after_s = 100 }",
        );
        let mut facts = Facts { unsaved_s: 60.0, ..facts() };
        assert_eq!(policy.decide(&facts), Decision::Checkpoint { trigger: Trigger::Interval });
        (facts.busy, facts.kernel_idle_s, facts.browser_away_s) = (false, 100.0, 100.0);
        assert_eq!(policy.decide(&facts), Decision::Suspend { trigger: Trigger::Idle });
        facts.notice = Some(Notice { left_s: 30.0, trigger: Trigger::TimeLimit });
        assert_eq!(policy.decide(&facts), Decision::Suspend { trigger: Trigger::TimeLimit });
    }

    #[test]
    fn the_next_look_is_at_whatever_comes_first() {
        let policy = policy("timing.fixed.interval_s = 60\nidle.kill-after.after_s = 100");
        let facts = Facts { unsaved_s: 20.0, ..facts() };
        assert_eq!(policy.decide(&facts), Decision::Continue { look_again_in_s: Some(40.0) });
        let facts = Facts { busy: false, kernel_idle_s: 30.0, browser_away_s: 30.0, ..facts };
        assert_eq!(policy.decide(&facts), Decision::Continue { look_again_in_s: Some(70.0) });
        let facts = Facts { kernel_idle_s: 100.0, browser_away_s: 100.0, ..facts };
        assert_eq!(policy.decide(&facts), Decision::Kill);
    }

    #[test]
    fn unknown_keys_and_senseless_numbers_are_refused_with_their_line() {
        for (text, line, words) in [
            ("\ntiming.daly = { mtbf = 3 }", "line 2", "unknown field `mtbf`"),
            ("timing.dally = {}", "line 1", "unknown variant `dally`"),
            ("idle.kill-after.after_s = -1", "line 1", "must be a finite number"),
            ("[placement]\nmarkt = 1", "line 2", "unknown field `markt`"),
            ("timing.never = { x = 1 }", "line 1", "unknown field `x`"),
        ] {
            let error = toml::from_str::<Policy>(text).expect_err(text).to_string();
            assert!(error.contains(line) && error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_policy_survives_being_written_and_read() {
        let before = policy(
            "timing.hazard.lifetime.weibull = { shape = 0.7, scale_s = 3600 }\n\
             idle.predicted = { trust = 0.5 }\nplacement.market.uniform-progress = {}",
        );
        let text = toml::to_string(&before).expect("toml");
        assert_eq!(policy(&text), before, "{text}");
    }
}
