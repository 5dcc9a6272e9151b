//! When images are written. One small file per policy, each with its source; this file only lists them and
//! holds what all of them share: how an interval becomes a moment.

mod daly;
mod dynamic;
mod exact;
mod fixed;
mod hazard;
mod never;
mod notice_and_interval;
mod on_notice;
mod young;

pub use daly::Daly;
pub use dynamic::DynamicProgramme;
pub use exact::Exact;
pub use fixed::Fixed;
pub use hazard::Hazard;
pub use never::Never;
pub use notice_and_interval::NoticeAndInterval;
pub use on_notice::OnNotice;
pub use young::Young;

use crate::Facts;
use serde::{Deserialize, Serialize};

/// A timing policy. The default dumps on notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// No images at all.
    Never(Never),
    /// After a fixed time of computing.
    Fixed(Fixed),
    /// Young's first-order optimum.
    Young(Young),
    /// Daly's higher-order optimum.
    Daly(Daly),
    /// The exact optimum for exponential failures.
    Exact(Exact),
    /// The first-order optimum for machines that age.
    Hazard(Hazard),
    /// The most work expected to be saved before the next failure, for any law.
    DynamicProgramme(DynamicProgramme),
    /// When the end is announced, and only then.
    OnNotice(OnNotice),
    /// When the end is announced, and every so often as well.
    NoticeAndInterval(NoticeAndInterval),
}

impl Default for Timing {
    fn default() -> Self {
        Self::OnNotice(OnNotice::default())
    }
}

impl Timing {
    /// Seconds of computing from now until the next checkpoint should begin; 0 means now, `None` that none
    /// is planned. A session whose work ends before that needs none.
    pub fn next_checkpoint_in_s(&self, facts: &Facts) -> Option<f64> {
        let in_s = match self {
            Self::Never(_) | Self::OnNotice(_) => return None,
            Self::Hazard(policy) => policy.next_in_s(facts),
            Self::NoticeAndInterval(policy) => return policy.interval.next_checkpoint_in_s(facts),
            Self::Fixed(policy) => policy.interval_s - facts.unsaved_s,
            Self::Young(policy) => policy.interval_s(facts) - facts.unsaved_s,
            Self::Daly(policy) => policy.interval_s(facts) - facts.unsaved_s,
            Self::Exact(policy) => policy.interval_s(facts) - facts.unsaved_s,
            Self::DynamicProgramme(policy) => policy.interval_s(facts) - facts.unsaved_s,
        };
        let in_s = in_s.max(0.0);
        (in_s.is_finite() && facts.work_left_s.is_none_or(|left_s| in_s < left_s)).then_some(in_s)
    }

    /// With the end announced in `left_s` seconds: when the dump should begin, in seconds from now; `None`
    /// if this policy does not act on notices.
    pub fn dump_on_notice_in_s(&self, facts: &Facts, left_s: f64) -> Option<f64> {
        match self {
            Self::OnNotice(policy) => policy.dump_in_s(facts, left_s),
            Self::NoticeAndInterval(policy) => policy.notice.dump_in_s(facts, left_s),
            _ => None,
        }
    }
}
