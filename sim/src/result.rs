//! What a run leaves behind for people and programs: one JSON document with everything needed to run it
//! again (scenario, seed, version), and the same figures as a table.

use crate::attribution::Attribution;
use crate::engine::histogram::{Histogram, Summary};
use crate::model::metrics::{CAUSES, Cause, MARKETS, Metrics};
use crate::model::occupancy::{STATES, Series};
use crate::replicate::estimates;
use crate::scenario::Scenario;
use crate::statistics::Estimate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the result's format.
pub const FORMAT: u32 = 1;

/// One scenario's results.
#[derive(Debug, Clone, Serialize)]
pub struct RunResult {
    /// Version of this format.
    pub format: u32,
    /// Version of the program.
    pub version: &'static str,
    /// What was run, with its seed and every default filled in.
    pub scenario: Scenario,
    /// What was changed in a sweep's base scenario to get this one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cell: BTreeMap<String, toml::Value>,
    /// How many replications the figures are means of.
    pub replications: u64,
    /// Figures with their 95 % intervals.
    pub figures: Vec<Figure>,
    /// Money and hours by market and cause: means over replications.
    pub costs: Vec<CostLine>,
    /// Who is to be thanked for the savings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// What people waited, over all replications.
    pub waits: Waits,
    /// How many sessions were in which state: the first replication.
    pub occupancy: Series,
    /// The states of `occupancy`.
    pub states: [&'static str; 6],
    /// Sessions in the first replication.
    pub sessions: u64,
    /// Sessions whose machine never came, over all replications.
    pub sessions_stuck: u64,
    /// Hours of computing that never happened because nobody came back, over all replications.
    pub unfinished_h: f64,
}

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// Its name, with its unit.
    pub name: &'static str,
    /// Its mean and interval.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// One line of the cost table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostLine {
    /// `on-demand` or `spot`.
    pub market: &'static str,
    /// What the machines did.
    pub cause: Cause,
    /// Hours of machines.
    pub hours: f64,
    /// What they cost.
    pub money: f64,
}

/// What people waited.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Waits {
    /// For a new session.
    pub start: Wait,
    /// After coming back to one.
    pub resume: Wait,
    /// While one stood still that was needed.
    pub interruption: Wait,
    /// While a checkpoint paused a cell.
    pub pause: Wait,
}

/// One distribution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wait {
    /// Its percentiles.
    pub summary: Summary,
    /// Share of waits at or below each of [`points_s`].
    pub shares: Vec<f64>,
}

/// Where distributions are sampled, in seconds: 0.1 s to 10,000 s, ten to a decade.
pub fn points_s() -> Vec<f64> {
    (0..=50).map(|i| 0.1 * 10_f64.powf(f64::from(i) / 10.0)).collect()
}

impl RunResult {
    /// Puts together the runs of one scenario.
    pub fn new(scenario: Scenario, runs: &[Metrics], attribution: Option<Attribution>) -> Self {
        let figures = estimates(runs).into_iter().map(|(name, estimate)| Figure { name, estimate }).collect();
        let merged = |pick: fn(&Metrics) -> &Histogram| {
            let mut all = Histogram::default();
            for run in runs {
                all.merge(pick(run));
            }
            Wait { summary: all.summary(), shares: all.shares_at(&points_s()) }
        };
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            scenario,
            cell: BTreeMap::new(),
            replications: runs.len() as u64,
            figures,
            costs: costs(runs),
            attribution,
            waits: Waits {
                start: merged(|run| &run.start_wait),
                resume: merged(|run| &run.resume_wait),
                interruption: merged(|run| &run.interruption),
                pause: merged(|run| &run.pause),
            },
            occupancy: runs
                .first()
                .map_or(Series { width_h: 0.0, sessions: Vec::new() }, |run| run.occupancy.series()),
            states: STATES,
            sessions: runs.first().map_or(0, |run| run.sessions),
            sessions_stuck: runs.iter().map(|run| run.sessions_stuck).sum(),
            unfinished_h: runs.iter().map(|run| run.unfinished_ns as f64 / 3.6e12).sum(),
        }
    }

    /// The figure of that name.
    pub fn figure(&self, name: &str) -> Option<Estimate> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.estimate)
    }
}

fn costs(runs: &[Metrics]) -> Vec<CostLine> {
    let count = runs.len().max(1) as f64;
    let mut lines = Vec::new();
    for (row, market) in MARKETS.iter().enumerate() {
        for (column, &cause) in CAUSES.iter().enumerate() {
            let hours =
                runs.iter().map(|run| run.machine_ns[row][column] as f64 / 3.6e12).sum::<f64>() / count;
            let money = runs.iter().map(|run| run.money[row][column]).sum::<f64>() / count;
            if hours > 0.0 {
                let market = match market {
                    stasis_policy::placement::Market::OnDemand => "on-demand",
                    stasis_policy::placement::Market::Spot => "spot",
                };
                lines.push(CostLine { market, cause, hours, money });
            }
        }
    }
    lines
}

/// As much of a result file as reports and comparisons read back.
#[derive(Debug, Clone, Deserialize)]
pub struct Saved {
    /// Version of the format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// What was run.
    pub scenario: Scenario,
    /// What was changed in a sweep's base scenario.
    #[serde(default)]
    pub cell: BTreeMap<String, toml::Value>,
    /// Number of replications.
    pub replications: u64,
    /// Figures with intervals.
    pub figures: Vec<SavedFigure>,
    /// The cost table.
    pub costs: Vec<SavedCost>,
    /// Who is to be thanked.
    #[serde(default)]
    pub attribution: Option<SavedAttribution>,
    /// Waits by kind.
    pub waits: BTreeMap<String, SavedWait>,
    /// Sessions by state over time.
    pub occupancy: SavedSeries,
    /// The states.
    pub states: Vec<String>,
}

/// A figure that was read back.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedFigure {
    /// Its name.
    pub name: String,
    /// Its mean; absent if it is not a number.
    pub mean: Option<f64>,
    /// Half of its interval.
    pub halfwidth: Option<f64>,
}

/// A cost line that was read back.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedCost {
    /// The market.
    pub market: String,
    /// The cause.
    pub cause: String,
    /// Hours.
    pub hours: f64,
    /// Money.
    pub money: f64,
}

/// An attribution that was read back.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SavedAttribution {
    /// All together.
    pub total: f64,
    /// Idle handling.
    pub idle: f64,
    /// Spot.
    pub spot: f64,
    /// Right-sizing.
    pub right_size: f64,
    /// Neither.
    pub overhead: f64,
}

/// A distribution that was read back.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedWait {
    /// Its percentiles.
    pub summary: SavedSummary,
    /// Shares at [`points_s`].
    pub shares: Vec<f64>,
}

/// Percentiles that were read back, in seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct SavedSummary {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_s: f64,
    /// 95 %.
    pub p95_s: f64,
    /// 99 %.
    pub p99_s: f64,
}

/// A series that was read back.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedSeries {
    /// Width of a bucket in hours.
    pub width_h: f64,
    /// Sessions by bucket and state.
    pub sessions: Vec<[f64; 6]>,
}

impl Saved {
    /// The mean of the figure of that name.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.mean
    }
}
