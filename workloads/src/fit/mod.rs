//! Fits: which law, with which numbers, a trace was most likely drawn from, and how well it fits. A fit of
//! sessions is a generator's specification, so that a trace that cannot be shared can be imitated.

mod bathtub;
mod laws;
mod reservoir;
mod sessions;
mod simplex;

pub use laws::{Fits, LawFit, ks_distance, log_likelihood};
pub use reservoir::SAMPLES_MAX;
pub use sessions::{SessionFit, fit_sessions};

use crate::error::{Invalid, TraceError};
use crate::session::NS_PER_S;
use reservoir::Reservoir;
use std::path::Path;

/// Fits the laws of think times, cells and the like to durations in seconds: exponential, log-normal,
/// Weibull and Pareto by maximum likelihood, the best by AIC first.
///
/// # Errors
/// There are no durations, or one is not a finite number above 0.
pub fn fit_durations(durations_s: &[f64]) -> Result<Fits, Invalid> {
    laws::fit(durations_s, false)
}

/// Fits the laws of machines' lives, in seconds: as [`fit_durations`], and the bathtub by least squares.
///
/// # Errors
/// As [`fit_durations`].
pub fn fit_lifetimes(lifetimes_s: &[f64]) -> Result<Fits, Invalid> {
    laws::fit(lifetimes_s, true)
}

/// Fits lives as an importer yields them, in nanoseconds; `file` is for messages only. Of more than
/// [`SAMPLES_MAX`] a random choice of that many is used.
///
/// # Errors
/// The first error of the importer, or as [`fit_durations`].
pub fn fit_lifetime_trace(
    file: &Path,
    lifetimes_ns: impl Iterator<Item = Result<u64, TraceError>>,
) -> Result<Fits, TraceError> {
    let mut sample = Reservoir::new("lifetimes");
    for lifetime_ns in lifetimes_ns {
        sample.add(lifetime_ns? as f64 / NS_PER_S as f64);
    }
    fit_lifetimes(sample.values()).map_err(|invalid| invalid.at(file, 0))
}
