//! Queues: M/M/c waiting times against Erlang's C formula, and EASY backfill against schedules worked out by
//! hand.

use super::{Check, Report};
use crate::model::batch::{job, simulate};
use crate::model::cluster::Discipline;
use crate::replicate::RunError;
use crate::statistics::estimate;
use rayon::prelude::*;
use stasis_workloads::streams::{Purpose, stream};
use stasis_workloads::{Law, NS_PER_S};

const ARRIVAL: Purpose = Purpose::named("validate/arrival");
const SERVICE: Purpose = Purpose::named("validate/service");
const JOBS: u64 = 100_000;
const RUNS: u64 = 20;

pub fn check(report: &mut Report) -> Result<(), RunError> {
    for (servers, load) in [(1, 0.5), (1, 0.8), (8, 0.8), (32, 0.9)] {
        let waits: Result<Vec<f64>, RunError> =
            (0..RUNS).into_par_iter().map(|run| mean_wait_s(servers, load, run)).collect();
        let found = estimate(&waits?);
        let standard_error = found.deviation / (RUNS as f64).sqrt();
        report.checks.push(Check {
            topic: "M/M/c",
            figure: format!("c = {servers}, load {load}: mean wait over service"),
            expected: erlang_wait(servers, load),
            found: found.mean,
            tolerance: 4.0 * standard_error,
            one_sided: None,
            source: format!("Erlang C; {RUNS} runs of {JOBS} jobs, 4 standard errors"),
        });
    }
    by_hand(report)
}

/// Mean wait in queue of M/M/c, over the mean service time.
fn erlang_wait(servers: u32, load: f64) -> f64 {
    let offered = load * f64::from(servers);
    // Erlang B by its recursion, then C.
    let blocked = (1..=servers).fold(1.0, |b, n| offered * b / (f64::from(n) + offered * b));
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    waits / (f64::from(servers) * (1.0 - load))
}

fn mean_wait_s(servers: u32, load: f64, run: u64) -> Result<f64, RunError> {
    let mut arrivals = stream(1917, run, u64::from(servers), ARRIVAL);
    let mut services = stream(1917, run, u64::from(servers), SERVICE);
    let gap = Law::Exponential { mean_s: 1.0 / (load * f64::from(servers)) };
    let service = Law::Exponential { mean_s: 1.0 };
    let mut at_ns = 0;
    let jobs = (0..JOBS).map(|id| {
        at_ns += gap.sample_ns(&mut arrivals);
        let run_ns = service.sample_ns(&mut services).max(1);
        Ok(job(id, at_ns, run_ns, run_ns, 1))
    });
    let (mut total_s, mut count) = (0.0, 0.0);
    simulate(jobs, servers, Discipline::Fifo, |outcome| {
        // the first tenth fills the queue
        if outcome.id >= JOBS / 10 {
            total_s += (outcome.start_ns - outcome.submit_ns) as f64 / 1e9;
            count += 1.0;
        }
    })?;
    Ok(total_s / count)
}

/// Jobs (submitted, run, requested, processors) on ten processors, all times in seconds, and their starts.
///
/// Job 1 takes 6 until 100 (its user said 100), job 2 needs 8 and gets its reservation at 100, with 2 to
/// spare. Job 3 (2 for 300) fits beside both, job 4 (2 until 95) ends in time; job 5 (4 until 60) does not
/// fit for now. Job 1 ends early, at 50: then 6 are free, job 2
/// still waits for job 4, its reservation moves to 95 with nothing to spare: job 5 is too long for that, job 6
/// (4 for 20) is not. Job 4 ends at 90, and so on.
const BY_HAND: [(u64, u64, u64, u32, u64, u64); 6] = [
    // submit, run, requested, processors, FIFO start, EASY start
    (0, 50, 100, 6, 0, 0),
    (5, 40, 50, 8, 50, 90),
    (6, 300, 300, 2, 50, 6),
    (7, 83, 88, 2, 90, 7),
    (8, 20, 60, 4, 90, 130),
    (9, 10, 20, 4, 110, 50),
];

fn by_hand(report: &mut Report) -> Result<(), RunError> {
    for (discipline, name) in [(Discipline::Fifo, "FIFO"), (Discipline::EasyBackfill, "EASY")] {
        let jobs = BY_HAND.iter().zip(1..).map(|(&(submit, run, requested, processors, _, _), id)| {
            Ok(job(id, submit * NS_PER_S, run * NS_PER_S, requested * NS_PER_S, processors))
        });
        let mut starts = Vec::new();
        simulate(jobs, 10, discipline, |outcome| starts.push((outcome.id, outcome.start_ns / NS_PER_S)))?;
        starts.sort_unstable();
        for ((id, found), want) in starts.into_iter().zip(BY_HAND) {
            let expected = if discipline == Discipline::Fifo { want.4 } else { want.5 };
            report.checks.push(Check {
                topic: "Backfill",
                figure: format!("{name}: start of job {id} (s)"),
                expected: expected as f64,
                found: found as f64,
                tolerance: 0.0,
                one_sided: None,
                source: "worked out by hand".into(),
            });
        }
    }
    Ok(())
}
