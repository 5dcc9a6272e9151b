//! What a generator is told: a TOML file whose keys carry their units and whose unknown keys are errors.
//! `fit` writes the same thing. It must not know how anything is drawn.

use crate::checked::{fraction, non_negative, positive};
use crate::error::{Invalid, TraceError};
use crate::format::toml_file;
use crate::law::Law;
use crate::session::Request;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that can be generated; what is absent is not.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorSpec {
    /// Interactive sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionSpec>,
    /// Batch jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<JobSpec>,
    /// Lives of preemptible machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<LifetimeSpec>,
    /// Availability of spot capacity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot: Option<SpotSpec>,
}

/// When things arrive: a Poisson process whose rate follows the hours of the day and the days of the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrivalSpec {
    /// Length of the trace in days.
    #[serde(deserialize_with = "positive")]
    pub length_days: f64,
    /// Mean arrivals per day, over a whole week.
    #[serde(deserialize_with = "positive")]
    pub per_day: f64,
    /// How many users there are, all equally active.
    pub users: u32,
    /// Relative rate in each hour of the day, from the hour in which the trace starts; 24 of them, or none
    /// for no rhythm.
    #[serde(default)]
    pub hourly_weights: Vec<f64>,
    /// Relative rate on each day of the week, from the day on which the trace starts; 7 of them, or none.
    #[serde(default)]
    pub daily_weights: Vec<f64>,
}

/// Interactive sessions: a user comes, thinks, runs a cell, thinks, runs a cell, ..., lingers and goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// When sessions are submitted.
    pub arrivals: ArrivalSpec,
    /// How many cells a session runs.
    pub cells: CellsSpec,
    /// The wait before each cell.
    pub think: Law,
    /// The running time of each cell.
    pub busy: Law,
    /// How long the user leaves the session open after its last cell.
    pub linger: Law,
    /// Memory over time.
    pub memory: MemorySpec,
    /// The browser.
    pub browser: BrowserSpec,
    /// What users ask for; one of these is drawn for each session.
    pub requests: Vec<RequestChoice>,
}

/// Cells per session: log-normal, rounded to the nearest whole number, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellsSpec {
    /// Median number of cells.
    #[serde(deserialize_with = "positive")]
    pub median_cells: f64,
    /// Standard deviation of the natural logarithm; 0 for always the median.
    #[serde(deserialize_with = "non_negative")]
    pub sigma: f64,
}

/// Memory of a session: a log-normal amount at its start, and log-normal growth by some of its cells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySpec {
    /// Median amount at the start, in bytes.
    #[serde(deserialize_with = "positive")]
    pub start_median_bytes: f64,
    /// Standard deviation of its natural logarithm.
    #[serde(deserialize_with = "non_negative")]
    pub start_sigma: f64,
    /// Probability that a cell makes the session grow.
    #[serde(deserialize_with = "fraction")]
    pub growth_chance: f64,
    /// Median growth in bytes.
    #[serde(deserialize_with = "positive")]
    pub growth_median_bytes: f64,
    /// Standard deviation of its natural logarithm.
    #[serde(deserialize_with = "non_negative")]
    pub growth_sigma: f64,
}

/// The browser: connected from submission and from each start of a cell on, until patience runs out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserSpec {
    /// How long a browser stays connected with no new cell.
    pub patience: Law,
}

/// One thing users ask for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestChoice {
    /// How often, relative to the other choices.
    #[serde(deserialize_with = "positive")]
    pub weight: f64,
    /// Thousandths of a core.
    pub cores_milli: u32,
    /// Whole GPUs.
    pub gpus: u32,
    /// Memory in bytes; a session's memory never grows beyond it.
    pub memory_bytes: u64,
}

impl RequestChoice {
    /// It as a request.
    pub fn request(&self) -> Request {
        Request { cores_milli: self.cores_milli, gpus: self.gpus, memory_bytes: self.memory_bytes }
    }
}

/// Batch jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// When jobs are submitted.
    pub arrivals: ArrivalSpec,
    /// How long they run.
    pub run: Law,
    /// Largest number of processors; sizes are powers of two up to it, small ones most.
    pub processors_max: u32,
    /// Users ask for up to this many times what they need (uniform from 1), at least 1.
    #[serde(deserialize_with = "positive")]
    pub overestimate_max: f64,
}

/// Lives of preemptible machines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifetimeSpec {
    /// How many lives.
    pub count: u64,
    /// Their law.
    pub law: Law,
}

/// Availability of spot capacity: all or nothing, alternating.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpotSpec {
    /// Seconds between ticks.
    #[serde(deserialize_with = "positive")]
    pub gap_seconds: f64,
    /// Length in ticks.
    pub ticks: u32,
    /// Instances while there are some.
    pub instances: u32,
    /// How long there are some.
    pub available: Law,
    /// How long there are none.
    pub unavailable: Law,
}

impl GeneratorSpec {
    /// Reads and checks a specification; `file` is for messages only.
    ///
    /// # Errors
    /// It is not TOML, a key is unknown, missing or without its unit, or a value is out of range.
    pub fn parse(file: &Path, text: &str) -> Result<Self, TraceError> {
        let spec: Self = toml_file::parse(file, text)?;
        spec.validate().map_err(|invalid| {
            let line = toml_file::line_of(text, &invalid.key);
            invalid.at(file, line)
        })?;
        Ok(spec)
    }

    /// Reads and checks a specification file.
    ///
    /// # Errors
    /// It cannot be read, or as [`GeneratorSpec::parse`].
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let text = std::fs::read_to_string(path).map_err(|e| TraceError::io(path, "read", e))?;
        Self::parse(path, &text)
    }

    /// The specification as a TOML file.
    ///
    /// # Errors
    /// A value that TOML cannot carry (a whole number above 2^63).
    pub fn to_toml(&self) -> Result<String, Invalid> {
        toml::to_string(self).map_err(|error| Invalid::new("", error.to_string()))
    }

    /// Checks what the reading of single values cannot.
    ///
    /// # Errors
    /// The first key at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(sessions) = &self.sessions {
            sessions.validate()?;
        }
        if let Some(jobs) = &self.jobs {
            jobs.validate()?;
        }
        if let Some(lifetimes) = &self.lifetimes {
            under("lifetimes.law", lifetimes.law.validate())?;
        }
        if let Some(spot) = &self.spot {
            rule(spot.gap_seconds > 0.0, "spot.gap_seconds", "must be above 0")?;
            under("spot.available", spot.available.validate())?;
            under("spot.unavailable", spot.unavailable.validate())?;
        }
        Ok(())
    }
}

impl SessionSpec {
    /// Checks what the reading of single values cannot.
    ///
    /// # Errors
    /// The first key at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        under("sessions.arrivals", self.arrivals.validate())?;
        let laws = [
            ("think", self.think),
            ("busy", self.busy),
            ("linger", self.linger),
            ("browser.patience", self.browser.patience),
        ];
        for (key, law) in laws {
            under(&format!("sessions.{key}"), law.validate())?;
        }
        let CellsSpec { median_cells, sigma } = self.cells;
        rule(
            median_cells > 0.0 && median_cells <= 1e6,
            "sessions.cells.median_cells",
            "must be above 0, at most a million",
        )?;
        rule((0.0..=5.0).contains(&sigma), "sessions.cells.sigma", "must be from 0 to 5")?;
        rule(!self.requests.is_empty(), "sessions.requests", "there must be at least one")?;
        for choice in &self.requests {
            rule(
                choice.weight > 0.0 && choice.weight.is_finite(),
                "sessions.requests.weight",
                "must be above 0",
            )?;
            rule(choice.cores_milli > 0, "sessions.requests.cores_milli", "must be above 0")?;
        }
        Ok(())
    }
}

impl JobSpec {
    /// Checks what the reading of single values cannot.
    ///
    /// # Errors
    /// The first key at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        under("jobs.arrivals", self.arrivals.validate())?;
        under("jobs.run", self.run.validate())?;
        rule(self.processors_max > 0, "jobs.processors_max", "must be above 0")?;
        rule(self.overestimate_max >= 1.0, "jobs.overestimate_max", "must be at least 1")
    }
}

impl ArrivalSpec {
    /// Checks what the reading of single values cannot.
    ///
    /// # Errors
    /// The first key at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        let is_rate = |x: f64| x > 0.0 && x.is_finite();
        rule(
            is_rate(self.length_days) && self.length_days <= 36_500.0,
            "length_days",
            "must be above 0, at most a century",
        )?;
        rule(is_rate(self.per_day) && self.per_day <= 1e9, "per_day", "must be above 0, at most 10^9")?;
        rule(self.users > 0, "users", "must be above 0")?;
        for (key, weights, count) in
            [("hourly_weights", &self.hourly_weights, 24), ("daily_weights", &self.daily_weights, 7)]
        {
            let counted = weights.is_empty() || weights.len() == count;
            rule(counted, key, &format!("must have {count} numbers, or none"))?;
            rule(weights.iter().all(|&w| (0.0..=1e9).contains(&w)), key, "must be from 0 to 10^9")?;
            rule(weights.is_empty() || weights.iter().any(|&w| w > 0.0), key, "must not all be 0")?;
        }
        Ok(())
    }
}

fn rule(holds: bool, key: &str, reason: &str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::new(key, reason)) }
}

fn under(table: &str, result: Result<(), Invalid>) -> Result<(), Invalid> {
    result.map_err(|invalid| Invalid::new(format!("{table}.{}", invalid.key), invalid.reason))
}
