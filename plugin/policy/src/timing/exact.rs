//! The exact optimum for exponential failures, where Young's and Daly's are expansions of it: it minimises
//! the expected time T = M exp(R/M) (exp((tau+d)/M) - 1) Ts/tau of Daly 2006, equation 20. Setting the
//! derivative to zero gives (tau/M - 1) exp(tau/M - 1) = -exp(-1 - d/M), which Lambert's W solves.

use crate::checked::positive;
use crate::{Facts, lambert_w0};
use serde::{Deserialize, Serialize};

/// Computes for the exact optimum between checkpoints, and in whole segments where the work is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exact {
    /// Mean time between failures of one machine, M, in seconds.
    #[serde(deserialize_with = "positive")]
    pub mtbf_s: f64,
}

impl Exact {
    /// Seconds of computing between checkpoints.
    pub fn interval_s(&self, facts: &Facts) -> f64 {
        let dump_s = facts.dump_s();
        match facts.work_left_s {
            Some(left_s) => Self::whole_segments_s(facts.unsaved_s + left_s, dump_s, self.mtbf_s),
            None => Self::optimum_s(dump_s, self.mtbf_s),
        }
    }

    /// M (1 + W0(-exp(-1 - d/M))), in the unit of both.
    pub fn optimum_s(dump_s: f64, mtbf_s: f64) -> f64 {
        mtbf_s * (1.0 + lambert_w0(-(-1.0 - dump_s / mtbf_s).exp()))
    }

    /// The segment length that divides `work_s` evenly and costs the least time: of the two whole numbers
    /// of segments next to work/optimum, the better one.
    pub fn whole_segments_s(work_s: f64, dump_s: f64, mtbf_s: f64) -> f64 {
        let optimum_s = Self::optimum_s(dump_s, mtbf_s);
        let fewer = (work_s / optimum_s).floor().max(1.0);
        let time = |n: f64| n * ((work_s / n + dump_s) / mtbf_s).exp_m1();
        let segments = if time(fewer) <= time(fewer + 1.0) { fewer } else { fewer + 1.0 };
        work_s / segments
    }

    /// Expected time to do `work_s` with `interval_s` between checkpoints, restart cost `restart_s` and
    /// exponential failures, in the unit of all (Daly 2006, equation 20).
    pub fn expected_time_s(work_s: f64, interval_s: f64, dump_s: f64, restart_s: f64, mtbf_s: f64) -> f64 {
        mtbf_s * (restart_s / mtbf_s).exp() * ((interval_s + dump_s) / mtbf_s).exp_m1() * work_s / interval_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::{Daly, Young};
    use proptest::prelude::*;

    #[test]
    fn the_table_of_dalys_example() {
        for (mtbf_min, tau_min, best_h, young_h) in [
            (1440.0, 116.69, 547.88, 547.90),
            (360.0, 56.71, 610.22, 610.37),
            (15.0, 9.167, 2504.16, 2573.52),
        ] {
            let tau = Exact::optimum_s(5.0, mtbf_min);
            let time_h = |tau| Exact::expected_time_s(30_000.0, tau, 5.0, 10.0, mtbf_min) / 60.0;
            assert!((tau - tau_min).abs() < 0.005, "{mtbf_min}: {tau}");
            assert!((time_h(tau) - best_h).abs() < 0.005, "{mtbf_min}: {}", time_h(tau));
            let young = Young::optimum_s(5.0, mtbf_min);
            assert!((time_h(young) - young_h).abs() < 0.005, "{mtbf_min}: {}", time_h(young));
        }
    }

    proptest! {
        #[test]
        fn nothing_beats_it(dump in 0.01..100.0_f64, mtbf in 1.0..1e5_f64, other in 0.01..10.0_f64) {
            let time = |tau| Exact::expected_time_s(1e4, tau, dump, 0.0, mtbf);
            let exact = Exact::optimum_s(dump, mtbf);
            prop_assume!((exact + dump) / mtbf < 500.0);
            let best = time(exact);
            prop_assert!(best <= time(exact * other) * (1.0 + 1e-9));
            prop_assert!(best <= time(Daly::optimum_s(dump, mtbf)) * (1.0 + 1e-9));
        }

        #[test]
        fn segments_are_whole(work in 1.0..1e6_f64, dump in 0.1..100.0_f64, mtbf in 10.0..1e5_f64) {
            let n = work / Exact::whole_segments_s(work, dump, mtbf);
            prop_assert!((n - n.round()).abs() < 1e-6 * n.max(1.0));
        }
    }
}
