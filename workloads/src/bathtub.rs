//! The bathtub law of preemptible machines' lives: many die young, few in the middle, the rest at the
//! provider's limit. Form and evidence: Kadupitiya, Jadhao, Sharma, "Modeling the temporally constrained
//! preemptions of transient cloud VMs", HPDC 2020, who use
//!
//! ```text
//! F(t) = A (1 - exp(-t / tau1) + exp((t - b) / tau2))
//! ```
//!
//! As it stands F is a little above 0 at 0 and passes 1, so it is made a law here: it lives on
//! `[0, limit]`, where F(limit) = 1, and the small step at 0 is divided out.

use crate::checked::{fraction, positive};
use crate::error::Invalid;
use serde::{Deserialize, Serialize};

/// The constrained bathtub law; see the module for its form.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parameters", into = "Parameters")]
pub struct Bathtub {
    parameters: Parameters,
    /// Where F reaches 1, in seconds.
    limit_s: f64,
    /// F(0), which is divided out.
    at_zero: f64,
}

/// The four numbers of F, as a file carries them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Height of the plateau: the share that dies young, above 0 and at most 1.
    #[serde(deserialize_with = "fraction")]
    pub a: f64,
    /// How fast the young die, in seconds.
    #[serde(deserialize_with = "positive")]
    pub tau1_s: f64,
    /// How sharp the limit is, in seconds.
    #[serde(deserialize_with = "positive")]
    pub tau2_s: f64,
    /// Where the limit is, in seconds.
    #[serde(deserialize_with = "positive")]
    pub b_s: f64,
}

/// Steps of Newton's method, most of which are never needed: five are usual, and bisecting takes 60.
const STEPS_MAX: u32 = 200;

impl Parameters {
    fn raw_cdf(&self, t_s: f64) -> f64 {
        self.a * (1.0 - (-t_s / self.tau1_s).exp() + ((t_s - self.b_s) / self.tau2_s).exp())
    }

    fn raw_pdf(&self, t_s: f64) -> f64 {
        let young = (-t_s / self.tau1_s).exp() / self.tau1_s;
        let old = ((t_s - self.b_s) / self.tau2_s).exp() / self.tau2_s;
        self.a * (young + old)
    }

    /// Where F would be `raw` if only the young died, or beyond the plateau only the old.
    fn first_guess_s(&self, raw: f64) -> f64 {
        let beyond = raw / self.a - 1.0;
        if beyond < 0.0 { -self.tau1_s * (-beyond).ln() } else { self.b_s + self.tau2_s * beyond.ln() }
    }
}

impl TryFrom<Parameters> for Bathtub {
    type Error = Invalid;

    fn try_from(parameters: Parameters) -> Result<Self, Invalid> {
        let Parameters { a, tau1_s, tau2_s, b_s } = parameters;
        if !(a > 0.0 && a <= 1.0) {
            return Err(Invalid::new("a", "must be above 0 and at most 1"));
        }
        for (key, value) in [("tau1_s", tau1_s), ("tau2_s", tau2_s), ("b_s", b_s)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Invalid::new(key, "must be a finite number above 0"));
            }
        }
        // There the last term alone is 1, so F has reached 1 at or before it.
        let beyond_s = b_s - tau2_s * a.ln();
        let limit_s = bisect(0.0, beyond_s, |t_s| parameters.raw_cdf(t_s) >= 1.0);
        let at_zero = parameters.raw_cdf(0.0);
        if !(limit_s > 0.0 && limit_s.is_finite() && at_zero < 1.0) {
            return Err(Invalid::new("a", "these parameters leave no room for a life"));
        }
        Ok(Self { parameters, limit_s, at_zero })
    }
}

impl From<Bathtub> for Parameters {
    fn from(law: Bathtub) -> Self {
        law.parameters
    }
}

impl Bathtub {
    /// The law with these parameters (seconds but for `a`).
    ///
    /// # Errors
    /// A parameter outside its range.
    pub fn new(a: f64, tau1_s: f64, tau2_s: f64, b_s: f64) -> Result<Self, Invalid> {
        Parameters { a, tau1_s, tau2_s, b_s }.try_into()
    }

    /// The parameters.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// The age in seconds that nothing outlives.
    pub fn limit_s(&self) -> f64 {
        self.limit_s
    }

    /// Probability of dying by age `t_s` seconds.
    pub fn cdf(&self, t_s: f64) -> f64 {
        if t_s <= 0.0 {
            0.0
        } else if t_s >= self.limit_s {
            1.0
        } else {
            ((self.parameters.raw_cdf(t_s) - self.at_zero) / (1.0 - self.at_zero)).clamp(0.0, 1.0)
        }
    }

    /// Density at age `t_s`, per second.
    pub fn pdf(&self, t_s: f64) -> f64 {
        if !(0.0..=self.limit_s).contains(&t_s) {
            return 0.0;
        }
        self.parameters.raw_pdf(t_s) / (1.0 - self.at_zero)
    }

    /// The age in seconds by which a share `p` has died.
    pub fn quantile(&self, p: f64) -> f64 {
        if p <= 0.0 {
            return 0.0;
        }
        if p >= 1.0 {
            return self.limit_s;
        }
        self.age_at(self.at_zero + p * (1.0 - self.at_zero))
    }

    /// Where the raw F is `raw`: Newton's method within a bracket, as every spot machine's life is drawn here.
    fn age_at(&self, raw: f64) -> f64 {
        let (mut low_s, mut high_s) = (0.0, self.limit_s);
        let mut age_s = self.parameters.first_guess_s(raw);
        for _ in 0..STEPS_MAX {
            if !(age_s > low_s && age_s < high_s) {
                age_s = low_s + (high_s - low_s) / 2.0;
            }
            let short = raw - self.parameters.raw_cdf(age_s);
            if short == 0.0 {
                break;
            }
            if short > 0.0 {
                low_s = age_s;
            } else {
                high_s = age_s;
            }
            let step_s = short / self.parameters.raw_pdf(age_s);
            age_s += step_s;
            // The error after a step is its square, so this is the last bit but for rounding.
            if step_s.abs() <= 1e-9 * age_s {
                break;
            }
        }
        age_s.clamp(low_s, high_s)
    }

    /// Mean age at death in seconds: the integral of 1 - F.
    pub fn mean_s(&self) -> f64 {
        let Parameters { a, tau1_s, tau2_s, b_s } = self.parameters;
        let limit_s = self.limit_s;
        let young = limit_s - tau1_s * (1.0 - (-limit_s / tau1_s).exp());
        let old = tau2_s * (((limit_s - b_s) / tau2_s).exp() - (-b_s / tau2_s).exp());
        (limit_s - a * (young + old)) / (1.0 - self.at_zero)
    }
}

/// The smallest point of `[low, high]` where `reached` holds, to the last bit; `high` if it holds nowhere.
fn bisect(mut low: f64, mut high: f64, reached: impl Fn(f64) -> bool) -> f64 {
    // 64 halvings reach the last bit of most numbers; 200 those very near 0 too.
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if !(middle > low && middle < high) {
            break;
        }
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_where_the_cdf_gets_there(
            a in 0.05..1.0_f64, tau1_s in 1.0..1e5_f64, tau2_s in 1.0..1e5_f64, b_s in 1.0..1e6_f64,
            p in 0.0..1.0_f64,
        ) {
            let Ok(law) = Bathtub::new(a, tau1_s, tau2_s, b_s) else { return Ok(()) };
            let age_s = law.quantile(p);
            prop_assert!((0.0..=law.limit_s()).contains(&age_s), "{age_s}");
            prop_assert!((law.cdf(age_s) - p).abs() < 1e-9, "cdf({age_s}) = {}", law.cdf(age_s));
        }
    }
}
