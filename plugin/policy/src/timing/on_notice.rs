//! A dump when the end is announced, as clouds do (AWS 120 s ahead, GCP and Azure 30 s) and Slurm does with
//! `--signal`. Between notices nothing is written, so an unannounced failure loses everything.

use crate::Facts;
use crate::checked::non_negative;
use serde::{Deserialize, Serialize};

/// Dumps when the end is announced.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnNotice {
    /// Absent: the dump begins at once. Given: the session computes on, and the dump begins so late that it
    /// ends this many seconds before the end if it has the store to itself.
    #[serde(deserialize_with = "some_non_negative", skip_serializing_if = "Option::is_none")]
    pub margin_s: Option<f64>,
    /// True: do not even try when the dump cannot end in time with the store to itself, and leave the
    /// store's bandwidth to sessions that can.
    pub skip_if_late: bool,
}

fn some_non_negative<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<f64>, D::Error> {
    non_negative(input).map(Some)
}

impl OnNotice {
    /// Seconds from now until the dump begins; `None` if it is not worth a try.
    pub fn dump_in_s(&self, facts: &Facts, left_s: f64) -> Option<f64> {
        let dump_s = facts.dump_s();
        if self.skip_if_late && dump_s > left_s {
            return None;
        }
        Some(self.margin_s.map_or(0.0, |margin_s| (left_s - dump_s - margin_s).max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_contract::CostModel;

    #[test]
    fn at_once_or_just_in_time_or_not_at_all() {
        let cost = CostModel { dump_fixed_s: 1.0, dump_bytes_per_s: 1e9, ..CostModel::default() };
        let facts = Facts::new(cost, 19_000_000_000); // 20 s
        let at =
            |margin_s, skip_if_late, left_s| OnNotice { margin_s, skip_if_late }.dump_in_s(&facts, left_s);
        assert_eq!(at(None, false, 30.0), Some(0.0));
        assert_eq!(at(Some(4.0), false, 30.0), Some(6.0));
        assert_eq!(at(Some(4.0), false, 21.0), Some(0.0));
        assert_eq!(at(None, false, 10.0), Some(0.0));
        assert_eq!(at(None, true, 10.0), None);
    }
}
