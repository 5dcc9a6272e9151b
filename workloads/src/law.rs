//! Laws of durations: how long people think, cells run and machines live. One enum, so that a law is a
//! value in a file, a generator and a hypothesis for a fit at once. It must not know whose duration it is.
//!
//! Sampling is by inverse CDF, one uniform number per draw: two runs that differ in a parameter still
//! meet the same luck (common random numbers).

use crate::bathtub::{Bathtub, Parameters};
use crate::checked::positive;
use crate::error::Invalid;
use crate::session::NS_PER_S;
use crate::streams::Stream;
use serde::{Deserialize, Serialize};
use statrs::function::{erf, gamma};
use std::f64::consts::{PI, SQRT_2};

/// A law of durations, in seconds.
///
/// In TOML: `think.log-normal = { median_s = 90, sigma = 1.4 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Law {
    /// Always the same.
    Constant {
        /// The duration in seconds.
        #[serde(deserialize_with = "positive")]
        value_s: f64,
    },
    /// Without memory.
    Exponential {
        /// Mean in seconds.
        #[serde(deserialize_with = "positive")]
        mean_s: f64,
    },
    /// Its logarithm is normal.
    LogNormal {
        /// Median in seconds.
        #[serde(deserialize_with = "positive")]
        median_s: f64,
        /// Standard deviation of the natural logarithm.
        #[serde(deserialize_with = "positive")]
        sigma: f64,
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
    /// A power-law tail.
    Pareto {
        /// Tail exponent; the mean is infinite at 1 or below.
        #[serde(deserialize_with = "positive")]
        shape: f64,
        /// The shortest duration, in seconds.
        #[serde(deserialize_with = "positive")]
        minimum_s: f64,
    },
    /// Many die young, few in the middle, the rest at a limit.
    Bathtub(Bathtub),
}

impl Law {
    /// Its name as a file carries it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant { .. } => "constant",
            Self::Exponential { .. } => "exponential",
            Self::LogNormal { .. } => "log-normal",
            Self::Weibull { .. } => "weibull",
            Self::Pareto { .. } => "pareto",
            Self::Bathtub(_) => "bathtub",
        }
    }

    /// Checks a law that was built in code (one that was read is checked already).
    ///
    /// # Errors
    /// The first parameter that is not a finite number above 0.
    pub fn validate(&self) -> Result<(), Invalid> {
        let parameters = match *self {
            Self::Constant { value_s } => [("value_s", value_s), ("value_s", value_s)],
            Self::Exponential { mean_s } => [("mean_s", mean_s), ("mean_s", mean_s)],
            Self::LogNormal { median_s, sigma } => [("median_s", median_s), ("sigma", sigma)],
            Self::Weibull { shape, scale_s } => [("shape", shape), ("scale_s", scale_s)],
            Self::Pareto { shape, minimum_s } => [("shape", shape), ("minimum_s", minimum_s)],
            Self::Bathtub(law) => return Bathtub::try_from(Parameters::from(law)).map(drop),
        };
        match parameters.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((key, _)) => Err(Invalid::new(*key, "must be a finite number above 0")),
            None => Ok(()),
        }
    }

    /// How many numbers a fit may choose: what AIC counts.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Constant { .. } | Self::Exponential { .. } => 1,
            Self::LogNormal { .. } | Self::Weibull { .. } | Self::Pareto { .. } => 2,
            Self::Bathtub(_) => 4,
        }
    }

    /// Probability of lasting longer than `t_s` seconds.
    pub fn survival(&self, t_s: f64) -> f64 {
        if t_s <= 0.0 {
            return 1.0;
        }
        match *self {
            Self::Constant { value_s } => f64::from(u8::from(t_s < value_s)),
            Self::Exponential { mean_s } => (-t_s / mean_s).exp(),
            Self::LogNormal { median_s, sigma } => 0.5 * erf::erfc((t_s / median_s).ln() / (sigma * SQRT_2)),
            Self::Weibull { shape, scale_s } => (-(t_s / scale_s).powf(shape)).exp(),
            Self::Pareto { shape, minimum_s } => (minimum_s / t_s).powf(shape).min(1.0),
            Self::Bathtub(law) => 1.0 - law.cdf(t_s),
        }
    }

    /// Probability of lasting at most `t_s` seconds.
    pub fn cdf(&self, t_s: f64) -> f64 {
        match *self {
            Self::Bathtub(law) => law.cdf(t_s),
            Self::Exponential { mean_s } if t_s > 0.0 => -(-t_s / mean_s).exp_m1(),
            Self::Weibull { shape, scale_s } if t_s > 0.0 => -(-(t_s / scale_s).powf(shape)).exp_m1(),
            _ => 1.0 - self.survival(t_s),
        }
    }

    /// Density at `t_s`, per second. A constant has none and gives 0.
    pub fn pdf(&self, t_s: f64) -> f64 {
        if t_s <= 0.0 {
            return 0.0;
        }
        match *self {
            Self::Constant { .. } => 0.0,
            Self::Exponential { mean_s } => (-t_s / mean_s).exp() / mean_s,
            Self::LogNormal { median_s, sigma } => {
                let z = (t_s / median_s).ln() / sigma;
                (-0.5 * z * z).exp() / (t_s * sigma * (2.0 * PI).sqrt())
            }
            Self::Weibull { shape, scale_s } => {
                let x = t_s / scale_s;
                shape / scale_s * x.powf(shape - 1.0) * (-x.powf(shape)).exp()
            }
            Self::Pareto { minimum_s, .. } if t_s < minimum_s => 0.0,
            Self::Pareto { shape, minimum_s } => shape / t_s * (minimum_s / t_s).powf(shape),
            Self::Bathtub(law) => law.pdf(t_s),
        }
    }

    /// Chance of ending now, per second, for what has lasted `t_s`: density over survival.
    /// Infinite where nothing survives.
    pub fn hazard(&self, t_s: f64) -> f64 {
        match *self {
            Self::Exponential { mean_s } => 1.0 / mean_s,
            Self::Weibull { shape, scale_s } => shape / scale_s * (t_s / scale_s).powf(shape - 1.0),
            _ => {
                let survival = self.survival(t_s);
                if survival > 0.0 { self.pdf(t_s) / survival } else { f64::INFINITY }
            }
        }
    }

    /// The duration in seconds that a share `p` of all does not exceed.
    pub fn quantile(&self, p: f64) -> f64 {
        let p = p.clamp(0.0, 1.0);
        match *self {
            Self::Constant { value_s } => value_s,
            Self::Exponential { mean_s } => -mean_s * (-p).ln_1p(),
            Self::LogNormal { median_s, sigma } => {
                median_s * (-SQRT_2 * sigma * erf::erfc_inv(2.0 * p)).exp()
            }
            Self::Weibull { shape, scale_s } => scale_s * (-(-p).ln_1p()).powf(1.0 / shape),
            Self::Pareto { shape, minimum_s } => minimum_s * (1.0 - p).powf(-1.0 / shape),
            Self::Bathtub(law) => law.quantile(p),
        }
    }

    /// The mean in seconds; infinite for a Pareto law of shape 1 or less.
    pub fn mean_s(&self) -> f64 {
        match *self {
            Self::Constant { value_s } => value_s,
            Self::Exponential { mean_s } => mean_s,
            Self::LogNormal { median_s, sigma } => median_s * (0.5 * sigma * sigma).exp(),
            Self::Weibull { shape, scale_s } => scale_s * gamma::gamma(1.0 + 1.0 / shape),
            Self::Pareto { shape, minimum_s } if shape > 1.0 => shape * minimum_s / (shape - 1.0),
            Self::Pareto { .. } => f64::INFINITY,
            Self::Bathtub(law) => law.mean_s(),
        }
    }

    /// Draws a duration in seconds.
    pub fn sample_s(&self, stream: &mut Stream) -> f64 {
        self.quantile(stream.uniform())
    }

    /// Draws a duration in whole nanoseconds, at most 2^64 - 1.
    pub fn sample_ns(&self, stream: &mut Stream) -> u64 {
        seconds_to_ns(self.sample_s(stream))
    }

    /// Draws how much longer something lasts that has lasted `age_s` seconds already, in seconds.
    pub fn sample_remaining_s(&self, age_s: f64, stream: &mut Stream) -> f64 {
        let survived = self.survival(age_s);
        let p = 1.0 - survived * (1.0 - stream.uniform());
        (self.quantile(p) - age_s).max(0.0)
    }
}

/// Seconds to the nearest nanosecond; 0 for what is negative or no number, 2^64 - 1 for what is too long.
pub fn seconds_to_ns(seconds: f64) -> u64 {
    (seconds * NS_PER_S as f64).round() as u64
}
