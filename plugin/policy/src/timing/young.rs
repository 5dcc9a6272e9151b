//! Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974.

use crate::Facts;
use crate::checked::positive;
use serde::{Deserialize, Serialize};

/// Computes for sqrt(2 d M) between checkpoints, d being the time of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Young {
    /// Mean time between failures of one machine, M, in seconds.
    #[serde(deserialize_with = "positive")]
    pub mtbf_s: f64,
}

impl Young {
    /// Seconds of computing between checkpoints.
    pub fn interval_s(&self, facts: &Facts) -> f64 {
        Self::optimum_s(facts.dump_s(), self.mtbf_s)
    }

    /// sqrt(2 d M), in the unit of both.
    pub fn optimum_s(dump_s: f64, mtbf_s: f64) -> f64 {
        (2.0 * dump_s * mtbf_s).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_and_a_day_make_two_hours() {
        assert!((Young::optimum_s(5.0, 1440.0) - 120.0).abs() < 1e-12);
    }
}
