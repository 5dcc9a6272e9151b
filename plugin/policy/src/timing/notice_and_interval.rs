//! Both: a dump when the end is announced, and images in between for the ends that are not announced or
//! leave too little time. What the shepherd does when `--stasis=interval=` is given.

use super::{OnNotice, Timing};
use serde::{Deserialize, Serialize};

/// Dumps when the end is announced, and as another timing policy says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeAndInterval {
    /// What to do on notice.
    #[serde(default)]
    pub notice: OnNotice,
    /// What to do in between.
    pub interval: Box<Timing>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use crate::timing::Fixed;
    use stasis_contract::CostModel;

    #[test]
    fn it_does_both() {
        let interval = Box::new(Timing::Fixed(Fixed { interval_s: 60.0 }));
        let timing = Timing::NoticeAndInterval(NoticeAndInterval { notice: OnNotice::default(), interval });
        let facts = Facts::new(CostModel::default(), 0);
        assert_eq!(timing.next_checkpoint_in_s(&facts), Some(60.0));
        assert_eq!(timing.dump_on_notice_in_s(&facts, 30.0), Some(0.0));
    }
}
