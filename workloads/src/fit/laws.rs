//! Maximum likelihood for each law but the bathtub, and how they rank. Closed forms where there are some; one
//! root for Weibull; least squares for the bathtub, whose AIC is therefore a little too high, never too low. Sources: Johnson, Kotz, Balakrishnan, *Continuous Univariate
//! Distributions* (1994), chapters 14, 19-21.

use super::bathtub;
use crate::error::Invalid;
use crate::law::Law;
use serde::Serialize;

/// One law fitted to a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LawFit {
    /// The law with its numbers.
    pub law: Law,
    /// Natural logarithm of the sample's density under it.
    pub log_likelihood: f64,
    /// Akaike's criterion, 2 k - 2 log-likelihood with k fitted numbers: the smaller, the better.
    pub aic: f64,
    /// Kolmogorov-Smirnov distance: the largest gap between its CDF and the sample's, 0 to 1. Since the law
    /// was fitted to this sample, the textbook p-values do not hold and none is given.
    pub ks: f64,
}

/// All laws fitted to one sample, the best by AIC first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fits {
    /// How many samples there were.
    pub samples: usize,
    /// Their median in seconds.
    pub median_s: f64,
    /// Their mean in seconds.
    pub mean_s: f64,
    /// Never empty.
    pub laws: Vec<LawFit>,
}

impl Fits {
    /// The best law.
    pub fn best(&self) -> &LawFit {
        &self.laws[0]
    }

    /// The fit of the law called `name`, if it could be fitted.
    pub fn of(&self, name: &str) -> Option<&LawFit> {
        self.laws.iter().find(|fit| fit.law.name() == name)
    }
}

/// Sum of the logarithms of the density; minus infinity if the law excludes a sample.
pub fn log_likelihood(law: &Law, samples_s: &[f64]) -> f64 {
    samples_s.iter().map(|&x| law.pdf(x).ln()).sum()
}

/// Kolmogorov-Smirnov distance of a law to samples in rising order.
pub fn ks_distance(law: &Law, sorted_s: &[f64]) -> f64 {
    let n = sorted_s.len() as f64;
    let gap = |(index, &x): (usize, &f64)| {
        let p = law.cdf(x);
        (p - index as f64 / n).abs().max(((index + 1) as f64 / n - p).abs())
    };
    sorted_s.iter().enumerate().map(gap).fold(0.0, f64::max)
}

/// Fits every law that applies and ranks them.
pub fn fit(samples_s: &[f64], with_bathtub: bool) -> Result<Fits, Invalid> {
    if samples_s.is_empty() {
        return Err(Invalid::new("samples", "there is nothing to fit a law to"));
    }
    if let Some(wrong) = samples_s.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
        return Err(Invalid::new("samples", format!("{wrong} s is not a finite number above 0")));
    }
    let mut sorted = samples_s.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (smallest, largest) = (sorted[0], sorted[sorted.len() - 1]);
    // Samples that are all but equal have no spread to fit.
    let laws = if largest - smallest <= 1e-9 * largest {
        vec![LawFit { law: Law::Constant { value_s: largest }, log_likelihood: 0.0, aic: 0.0, ks: 0.0 }]
    } else {
        let mut laws = candidates(&sorted, with_bathtub);
        laws.sort_by(|a, b| a.aic.total_cmp(&b.aic));
        laws
    };
    let mean_s = sorted.iter().sum::<f64>() / sorted.len() as f64;
    Ok(Fits { samples: sorted.len(), median_s: median(&sorted), mean_s, laws })
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[half - 1], sorted[half]) } else { sorted[half] }
}

fn candidates(sorted: &[f64], with_bathtub: bool) -> Vec<LawFit> {
    let bathtub = with_bathtub.then(|| bathtub::fit(sorted)).flatten().map(Law::Bathtub);
    [Some(exponential(sorted)), Some(log_normal(sorted)), weibull(sorted), Some(pareto(sorted)), bathtub]
        .into_iter()
        .flatten()
        .filter(|law| law.validate().is_ok())
        .map(|law| {
            let log_likelihood = log_likelihood(&law, sorted);
            let aic = 2.0 * (law.parameters() as f64 - log_likelihood);
            LawFit { law, log_likelihood, aic, ks: ks_distance(&law, sorted) }
        })
        .collect()
}

fn exponential(samples: &[f64]) -> Law {
    Law::Exponential { mean_s: samples.iter().sum::<f64>() / samples.len() as f64 }
}

fn log_normal(samples: &[f64]) -> Law {
    let n = samples.len() as f64;
    let mean = samples.iter().map(|x| x.ln()).sum::<f64>() / n;
    let variance = samples.iter().map(|x| (x.ln() - mean).powi(2)).sum::<f64>() / n;
    Law::LogNormal { median_s: mean.exp(), sigma: variance.sqrt() }
}

fn pareto(sorted: &[f64]) -> Law {
    let minimum_s = sorted[0];
    let excess: f64 = sorted.iter().map(|x| (x / minimum_s).ln()).sum();
    Law::Pareto { shape: sorted.len() as f64 / excess, minimum_s }
}

/// The shape is the root of an increasing function, found by bisection; the scale follows.
fn weibull(sorted: &[f64]) -> Option<Law> {
    let (n, largest) = (sorted.len() as f64, sorted[sorted.len() - 1]);
    // Relative to the largest, so that powers stay within 0 to 1.
    let logs: Vec<f64> = sorted.iter().map(|x| (x / largest).ln()).collect();
    let mean_log = logs.iter().sum::<f64>() / n;
    let score = |shape: f64| {
        let (mut powers, mut weighted) = (0.0, 0.0);
        for &log in &logs {
            let power = (shape * log).exp();
            powers += power;
            weighted += power * log;
        }
        (weighted / powers - 1.0 / shape - mean_log, powers)
    };
    // By the logarithm of the shape, from 1/1000 to 1000.
    let (mut low, mut high) = (-6.9, 6.9);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if score(f64::exp(middle)).0 < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let shape = f64::midpoint(low, high).exp();
    let scale_s = largest * (score(shape).1 / n).powf(1.0 / shape);
    (scale_s.is_finite() && scale_s > 0.0).then_some(Law::Weibull { shape, scale_s })
}
