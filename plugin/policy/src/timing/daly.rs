//! Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation
//! Computer Systems 22, 2006, equation 37.

use crate::Facts;
use crate::checked::positive;
use serde::{Deserialize, Serialize};

/// Computes for Daly's optimum between checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daly {
    /// Mean time between failures of one machine, M, in seconds.
    #[serde(deserialize_with = "positive")]
    pub mtbf_s: f64,
}

impl Daly {
    /// Seconds of computing between checkpoints.
    pub fn interval_s(&self, facts: &Facts) -> f64 {
        Self::optimum_s(facts.dump_s(), self.mtbf_s)
    }

    /// sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + (d / 2M) / 9) - d for d < 2M, else M; in the unit of both.
    pub fn optimum_s(dump_s: f64, mtbf_s: f64) -> f64 {
        if dump_s >= 2.0 * mtbf_s {
            return mtbf_s;
        }
        let ratio = dump_s / (2.0 * mtbf_s);
        (2.0 * dump_s * mtbf_s).sqrt() * (1.0 + ratio.sqrt() / 3.0 + ratio / 9.0) - dump_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_table() {
        for (mtbf_min, want_min) in [(1440.0, 116.69), (360.0, 56.71), (15.0, 9.141)] {
            let found_min = Daly::optimum_s(5.0, mtbf_min);
            assert!((found_min - want_min).abs() < 0.005, "M = {mtbf_min} min: {found_min}");
        }
        assert!((Daly::optimum_s(5.0, 2.0) - 2.0).abs() < 1e-12);
    }
}
