//! Can't Be Late (Wu et al., NSDI 2024), Table 3: hours of work on demand and on spot, over eight traces of
//! 2022 and 300 random starts in each. The paper's starts are not public, so absolute figures may be off by
//! about two hours; the difference between the policies is steadier.

use super::{Check, Report};
use crate::deadline::{Job, most_on_spot_s, replay};
use crate::replicate::RunError;
use rayon::prelude::*;
use stasis_policy::placement::{Greedy, MarketPolicy, UniformProgress};
use stasis_workloads::SpotTrace;
use stasis_workloads::import::spot_json;
use stasis_workloads::streams::{Purpose, stream};
use std::path::{Path, PathBuf};

const STARTS: u64 = 300;
/// The first 13 days, which the paper uses.
const TICKS: u64 = 1872;
const START: Purpose = Purpose::named("validate/start");
const JOB: Job = Job { work_s: 48.0 * 3600.0, deadline_s: 60.0 * 3600.0, changeover_s: 0.2 * 3600.0 };

pub fn check(report: &mut Report, traces: Option<&Path>) -> Result<(), RunError> {
    let files = traces.map(|folder| json_files(&folder.join("spot-2022"))).unwrap_or_default();
    if files.is_empty() {
        report
            .skipped
            .push("Can't Be Late, Table 3: needs spot-2022/*.json in the folder of --traces".into());
        return Ok(());
    }
    let traces: Result<Vec<SpotTrace>, _> = files.iter().map(|file| spot_json::read(file)).collect();
    let traces = traces?;
    let greedy = mean_hours(&traces, |trace, start| split(trace, start, &MarketPolicy::Greedy(Greedy {})));
    let uniform = mean_hours(&traces, |trace, start| {
        split(trace, start, &MarketPolicy::UniformProgress(UniformProgress {}))
    });
    let bound = mean_hours(&traces, |trace, start| {
        let spot_s = most_on_spot_s(&JOB, trace, start);
        (JOB.work_s - spot_s, spot_s, true)
    });
    let mut push = |figure: &str, expected, found, tolerance, one_sided, source: &str| {
        report.checks.push(Check {
            topic: "Can't Be Late",
            figure: figure.into(),
            expected,
            found,
            tolerance,
            one_sided,
            source: source.into(),
        });
    };
    push("greedy, on demand (h)", 30.8, greedy.0, 2.0, None, "Table 3, +- 17.7");
    push("greedy, spot (h)", 17.2, greedy.1, 2.0, None, "Table 3");
    push("uniform progress, on demand (h)", 25.1, uniform.0, 2.0, None, "Table 3, +- 15.3");
    push("uniform progress, spot (h)", 22.9, uniform.1, 2.0, None, "Table 3");
    push("uniform progress over greedy, spot (h)", 5.7, uniform.1 - greedy.1, 1.0, None, "Table 3, paired");
    push("jobs that were late", 0.0, greedy.2 + uniform.2, 0.0, None, "section 4: none");
    let source = "Table 3, omniscient; ours is a bound on what foresight can do";
    push("with foresight, spot (h), at least", 27.4 - 2.0, bound.1, 0.0, Some(true), source);
    Ok(())
}

fn split(trace: &SpotTrace, start: u64, policy: &MarketPolicy) -> (f64, f64, bool) {
    let replay = replay(&JOB, policy, trace, start);
    (replay.on_demand_s, replay.spot_s, replay.in_time)
}

/// Mean hours on demand and on spot, and how many jobs were late.
fn mean_hours(
    traces: &[SpotTrace],
    run: impl Fn(&SpotTrace, u64) -> (f64, f64, bool) + Sync,
) -> (f64, f64, f64) {
    let per_trace: Vec<(f64, f64, f64)> = (traces.par_iter().enumerate())
        .map(|(index, trace)| {
            let ticks = (JOB.deadline_s * 1e9 / trace.gap_ns() as f64).round() as u64;
            let mut starts = stream(2024, 0, index as u64, START);
            (0..STARTS).fold((0.0, 0.0, 0.0), |sum, _| {
                let start = starts.below(trace.ticks().min(TICKS).saturating_sub(ticks) + 1);
                let (on_demand_s, spot_s, in_time) = run(trace, start);
                (sum.0 + on_demand_s, sum.1 + spot_s, sum.2 + f64::from(u8::from(!in_time)))
            })
        })
        .collect();
    let runs = (traces.len() as u64 * STARTS) as f64;
    let sum = per_trace.iter().fold((0.0, 0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    (sum.0 / runs / 3600.0, sum.1 / runs / 3600.0, sum.2)
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}
