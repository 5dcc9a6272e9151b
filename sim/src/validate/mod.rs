//! Does the simulator tell the truth? Each check puts what theory or a paper says beside what the simulator
//! finds, with the tolerance that its source allows. They go through the same engine and policies as any
//! scenario.

mod claims;
mod daly;
mod deadlines;
mod queues;
mod ski;

use std::path::Path;

/// One figure, expected and found.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What it is about.
    pub topic: &'static str,
    /// Which figure.
    pub figure: String,
    /// What theory or the paper says.
    pub expected: f64,
    /// What the simulator finds.
    pub found: f64,
    /// How far the two may be apart.
    pub tolerance: f64,
    /// If not `None`: `expected` is only a floor (`true`) or a ceiling (`false`).
    pub one_sided: Option<bool>,
    /// Where `expected` comes from, and what the tolerance is.
    pub source: String,
}

impl Check {
    /// True if the figure is within tolerance.
    pub fn holds(&self) -> bool {
        let off = self.found - self.expected;
        match self.one_sided {
            None => off.abs() <= self.tolerance,
            Some(true) => off >= -self.tolerance,
            Some(false) => off <= self.tolerance,
        }
    }
}

/// What a validation found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// All figures.
    pub checks: Vec<Check>,
    /// What was left out, and what it would have needed.
    pub skipped: Vec<String>,
}

/// Runs everything; `traces` is the folder of public traces, if there is one.
///
/// # Errors
/// A trace that is there but cannot be read.
pub fn validate(traces: Option<&Path>) -> Result<Report, crate::replicate::RunError> {
    let mut report = Report::default();
    daly::check(&mut report)?;
    ski::check(&mut report)?;
    queues::check(&mut report)?;
    claims::check(&mut report, traces)?;
    deadlines::check(&mut report, traces)?;
    Ok(report)
}
