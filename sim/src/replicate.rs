//! Replications of a scenario on all cores. Replication r is the same whoever runs it and whenever, and
//! results are put together in order of r, so the number of threads changes nothing, bit for bit.

use crate::model::metrics::Metrics;
use crate::model::world;
use crate::prefetch::Prefetch;
use crate::scenario::Prepared;
use crate::statistics::{Estimate, estimate};
use rayon::prelude::*;
use stasis_workloads::TraceError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Replications are started in batches of this size when their number is not given, on any machine.
const BATCH: u64 = 8;
/// No more than this, however wide the interval.
const REPLICATIONS_MAX: u64 = 4096;

/// How many replications to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// So many.
    Fixed(u64),
    /// Until the 95 % interval of the money is this narrow on either side, relative to the mean.
    UntilHalfwidth(f64),
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A trace could not be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Somebody asked to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

/// Watches over long runs: told of each replication that is done, and asked whether to go on.
pub struct Watch<'a> {
    /// Called when a replication is done.
    pub done: &'a (dyn Fn() + Sync),
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// One replication.
///
/// # Errors
/// A trace could not be read, or somebody asked to stop.
pub fn one(prepared: &Prepared, replication: u64, watch: &Watch<'_>) -> Result<Metrics, RunError> {
    let stopped = || watch.stop.load(Ordering::Relaxed);
    if stopped() {
        return Err(RunError::Interrupted);
    }
    let setup = prepared.setup(replication);
    // A replication can take long, but no longer than the sessions that are live when no more arrive.
    let mut sessions = Prefetch::new(prepared.sessions(replication)?).take_while(|_| !stopped());
    let mut jobs = prepared.jobs(replication)?;
    let outcome = world::run(&setup, &mut sessions, &mut jobs)?;
    if stopped() {
        return Err(RunError::Interrupted);
    }
    (watch.done)();
    Ok(outcome.metrics)
}

/// All replications, in order.
///
/// # Errors
/// The first replication's error, in their order.
pub fn all(prepared: &Prepared, amount: Amount, watch: &Watch<'_>) -> Result<Vec<Metrics>, RunError> {
    let run = |range: std::ops::Range<u64>| -> Result<Vec<Metrics>, RunError> {
        range.into_par_iter().map(|replication| one(prepared, replication, watch)).collect()
    };
    match amount {
        Amount::Fixed(count) => run(0..count),
        Amount::UntilHalfwidth(wanted) => {
            let mut found = Vec::new();
            while (found.len() as u64) < REPLICATIONS_MAX {
                let first = found.len() as u64;
                found.extend(run(first..first + BATCH)?);
                let money: Vec<f64> = found.iter().map(Metrics::total_money).collect();
                if estimate(&money).relative_halfwidth() <= wanted {
                    break;
                }
            }
            Ok(found)
        }
    }
}

/// Every figure of the replications with its interval, by name, in the order of the metrics.
pub fn estimates(runs: &[Metrics]) -> Vec<(&'static str, Estimate)> {
    let tables: Vec<Vec<(&'static str, f64)>> = runs.iter().map(Metrics::scalars).collect();
    let Some(first) = tables.first() else { return Vec::new() };
    let column = |index: usize| -> Vec<f64> {
        tables
            .iter()
            .filter_map(|table| table.get(index))
            .map(|pair| pair.1)
            .filter(|v| v.is_finite())
            .collect()
    };
    first.iter().enumerate().map(|(index, &(name, _))| (name, estimate(&column(index)))).collect()
}
