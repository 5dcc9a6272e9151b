//! The interval that most sites set by hand, and the only one that peers of this simulator know.

use crate::checked::positive;
use serde::{Deserialize, Serialize};

/// Writes an image after every `interval_s` seconds of computing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// Seconds of computing between checkpoints.
    #[serde(deserialize_with = "positive")]
    pub interval_s: f64,
}

#[cfg(test)]
mod tests {
    use crate::{Facts, Timing};
    use stasis_contract::CostModel;

    #[test]
    fn it_counts_what_is_unsaved_and_spares_work_that_ends_first() {
        let timing = Timing::Fixed(super::Fixed { interval_s: 600.0 });
        let facts = Facts { unsaved_s: 100.0, ..Facts::new(CostModel::default(), 0) };
        assert_eq!(timing.next_checkpoint_in_s(&facts), Some(500.0));
        assert_eq!(timing.next_checkpoint_in_s(&Facts { unsaved_s: 700.0, ..facts }), Some(0.0));
        assert_eq!(timing.next_checkpoint_in_s(&Facts { work_left_s: Some(500.0), ..facts }), None);
        assert_eq!(timing.dump_on_notice_in_s(&facts, 100.0), None);
    }
}
