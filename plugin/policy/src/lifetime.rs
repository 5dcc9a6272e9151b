//! How long machines live before they are preempted or fail, as a policy believes it. The TOML form is
//! that of the generators' laws, so that what was fitted to a trace can be pasted into a policy.

use crate::checked::{positive, share};
use serde::{Deserialize, Serialize};

/// A law of lifetimes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Lifetime {
    /// Without memory: an old machine is as good as new.
    Exponential {
        /// Mean in seconds.
        #[serde(deserialize_with = "positive")]
        mean_s: f64,
    },
    /// Ageing (shape above 1) or hardening (below 1).
    Weibull {
        /// Shape.
        #[serde(deserialize_with = "positive")]
        shape: f64,
        /// Scale in seconds: the age that 1/e outlive.
        #[serde(deserialize_with = "positive")]
        scale_s: f64,
    },
    /// Many die young, few in the middle, the rest at a limit:
    /// F(t) = a (1 - exp(-t/tau1) + exp((t-b)/tau2)), less F(0), up to where it reaches 1
    /// (Kadupitiya, Jadhao, Sharma, HPDC 2020, equation 1).
    Bathtub {
        /// The share that dies young, above 0 and at most 1.
        #[serde(deserialize_with = "share")]
        a: f64,
        /// How fast the young die, in seconds.
        #[serde(deserialize_with = "positive")]
        tau1_s: f64,
        /// How sharp the limit is, in seconds.
        #[serde(deserialize_with = "positive")]
        tau2_s: f64,
        /// Where the limit is, in seconds.
        #[serde(deserialize_with = "positive")]
        b_s: f64,
    },
}

impl Lifetime {
    /// Probability of living longer than `age_s` seconds.
    pub fn survival(&self, age_s: f64) -> f64 {
        if age_s <= 0.0 {
            return 1.0;
        }
        match *self {
            Self::Exponential { mean_s } => (-age_s / mean_s).exp(),
            Self::Weibull { shape, scale_s } => (-(age_s / scale_s).powf(shape)).exp(),
            Self::Bathtub { a, tau1_s, tau2_s, b_s } => {
                let at = |t: f64| a * (1.0 - (-t / tau1_s).exp() + ((t - b_s) / tau2_s).exp());
                (1.0 - (at(age_s) - at(0.0)) / (1.0 - at(0.0))).clamp(0.0, 1.0)
            }
        }
    }

    /// Chance of dying now, per second, at `age_s`; infinite where nothing survives.
    pub fn hazard(&self, age_s: f64) -> f64 {
        let age_s = age_s.max(0.0);
        match *self {
            Self::Exponential { mean_s } => 1.0 / mean_s,
            Self::Weibull { shape, scale_s } => shape / scale_s * (age_s / scale_s).powf(shape - 1.0),
            Self::Bathtub { a, tau1_s, tau2_s, b_s } => {
                let survival = self.survival(age_s);
                if survival <= 0.0 {
                    return f64::INFINITY;
                }
                let young = (-age_s / tau1_s).exp() / tau1_s;
                let old = ((age_s - b_s) / tau2_s).exp() / tau2_s;
                a * (young + old) / (1.0 - a * (-b_s / tau2_s).exp()) / survival
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn laws() -> impl Strategy<Value = Lifetime> {
        prop_oneof![
            (10.0..1e6_f64).prop_map(|mean_s| Lifetime::Exponential { mean_s }),
            (0.4..3.0_f64, 10.0..1e6_f64).prop_map(|(shape, scale_s)| Lifetime::Weibull { shape, scale_s }),
            (0.1..1.0_f64, 100.0..1e4_f64, 100.0..1e4_f64, 5e4..2e5_f64)
                .prop_map(|(a, tau1_s, tau2_s, b_s)| Lifetime::Bathtub { a, tau1_s, tau2_s, b_s }),
        ]
    }

    proptest! {
        #[test]
        fn hazard_is_the_slope_of_log_survival(law in laws(), at in 0.05..0.9_f64) {
            // an age that a share `at` survives
            let (mut low, mut high) = (0.0, 1e8);
            for _ in 0..200 {
                let middle = f64::midpoint(low, high);
                if law.survival(middle) > at { low = middle } else { high = middle }
            }
            let (t, h) = (low, low * 1e-5);
            let slope = -(law.survival(t + h).ln() - law.survival(t - h).ln()) / (2.0 * h);
            prop_assert!((slope / law.hazard(t) - 1.0).abs() < 1e-3, "{slope} {}", law.hazard(t));
        }

        #[test]
        fn survival_falls_from_one(law in laws(), a in 0.0..1e6_f64, b in 0.0..1e6_f64) {
            prop_assert!(law.survival(0.0) >= 1.0);
            prop_assert!(law.survival(a.min(b)) >= law.survival(a.max(b)));
        }
    }
}
