//! Means with their uncertainty: Student t intervals over replications, and paired differences between two
//! policies that met the same randomness.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Confidence of all intervals.
pub const CONFIDENCE: f64 = 0.95;

/// A mean and how far off it may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of its 95 % interval; `None` from fewer than two values.
    pub halfwidth: Option<f64>,
    /// Standard deviation of the values; 0 from fewer than two.
    pub deviation: f64,
    /// How many values there were.
    pub count: u64,
}

/// The mean of independent values, with its Student t interval.
pub fn estimate(values: &[f64]) -> Estimate {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return Estimate { mean, halfwidth: None, deviation: 0.0, count: values.len() as u64 };
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    let halfwidth = student_t(count - 1.0) * deviation / count.sqrt();
    Estimate { mean, halfwidth: Some(halfwidth), deviation, count: values.len() as u64 }
}

/// The mean difference `b - a` of values that belong together in pairs.
pub fn paired_difference(a: &[f64], b: &[f64]) -> Estimate {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    estimate(&differences)
}

/// The two-sided quantile of Student's t.
fn student_t(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

impl Estimate {
    /// Half-width over mean; infinite while there is no interval, 0 for a constant.
    pub fn relative_halfwidth(&self) -> f64 {
        match self.halfwidth {
            Some(halfwidth) if halfwidth > 0.0 => halfwidth / self.mean.abs(),
            Some(_) => 0.0,
            None => f64::INFINITY,
        }
    }

    /// True if the interval leaves out zero.
    pub fn is_significant(&self) -> bool {
        self.halfwidth.is_some_and(|halfwidth| self.mean.abs() > halfwidth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_interval() {
        // t(4, 0.975) = 2.776445; mean 3, s = sqrt(2.5)
        let found = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((found.mean - 3.0).abs() < 1e-12);
        assert!((found.halfwidth.expect("five values") - 2.776_445 * (2.5_f64 / 5.0).sqrt()).abs() < 1e-5);
        assert_eq!(estimate(&[1.0]).halfwidth, None);
        assert!(!estimate(&[1.0]).is_significant());
    }

    #[test]
    fn pairing_removes_what_both_share() {
        let a = [10.0, 20.0, 30.0, 40.0];
        let b = [11.0, 21.1, 30.9, 41.0];
        assert!(paired_difference(&a, &b).is_significant());
        assert!(!estimate(&a).is_significant() || estimate(&a).relative_halfwidth() > 0.5);
    }
}
