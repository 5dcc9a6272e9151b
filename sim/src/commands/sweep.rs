//! `sweep`: a grid of scenarios, on the cores of this machine or as the tasks of a Slurm job array.

use super::{directory, print, progress, show, slurm, table, threads, watch, write_results};
use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use stasis_sim::replicate::{Amount, RunError, all};
use stasis_sim::result::RunResult;
use stasis_sim::sweep::{Cell, Sweep};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `sweep` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// The sweep.
    sweep: PathBuf,
    /// Write all cells' results here: `.json` or `.csv`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Run the cells as a Slurm job array, wait for it, and gather; needs --output.
    #[arg(long, requires = "output")]
    slurm: bool,
    /// More arguments for sbatch, such as `--partition=short`.
    #[arg(long, value_name = "ARGUMENT", requires = "slurm", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Run only the cell of this number (from 0) and write it to --output: what a task of the array does.
    #[arg(long, value_name = "N", requires = "output", hide = true)]
    cell: Option<usize>,
    /// Threads to use [default: all cores]. The results do not depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    threads(arguments.threads)?;
    let path = &arguments.sweep;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("couldn't read {}", path.display()))
    };
    let sweep = Sweep::parse(path, &read(path)?)?;
    let base = directory(path).join(&sweep.base);
    let mut cells = sweep.cells(&base, &read(&base)?)?;
    let folder = directory(&base);
    if let Some(index) = arguments.cell {
        ensure!(index < cells.len(), "there are {} cells, so none has the number {index}", cells.len());
        cells = vec![cells.swap_remove(index)];
    }
    if let Some(output) = arguments.output.as_ref().filter(|_| arguments.slurm) {
        slurm::run(path, output, cells.len(), &arguments.sbatch)?;
        return Ok(ExitCode::SUCCESS);
    }
    let total: u64 = cells.iter().map(|cell| cell.scenario.replications).sum();
    let bar = progress(Some(total), "replications");
    let done = || bar.inc(1);
    let results: Result<Vec<RunResult>, RunError> =
        cells.into_par_iter().map(|cell| one(cell, &folder, &done)).collect();
    bar.finish_and_clear();
    let results = results?;
    if let Some(path) = &arguments.output {
        write_results(path, &results, true)?;
    }
    if arguments.cell.is_none() {
        print(&summary(&results))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one(cell: Cell, folder: &Path, done: &(dyn Fn() + Sync)) -> Result<RunResult, RunError> {
    let prepared = cell.scenario.clone().prepare(folder)?;
    let runs = all(&prepared, Amount::Fixed(cell.scenario.replications), &watch(done))?;
    let mut result = RunResult::new(cell.scenario, &runs, None);
    result.cell = cell.changes;
    Ok(result)
}

/// One line per cell.
fn summary(results: &[RunResult]) -> String {
    let keys: Vec<&str> =
        results.first().map(|r| r.cell.keys().map(String::as_str).collect()).unwrap_or_default();
    let varied: Vec<&str> = keys
        .into_iter()
        .filter(|key| results.iter().any(|r| r.cell.get(*key) != results[0].cell.get(*key)))
        .collect();
    let names = [
        "money",
        "saved_factor",
        "money_over_bound",
        "felt_over_bound",
        "resume_wait_p50_s",
        "resume_wait_p99_s",
        "lost_busy_s",
    ];
    let mut shown = table(&[&varied[..], &names[..]].concat());
    for result in results {
        let changes = varied.iter().filter_map(|key| result.cell.get(*key)).map(ToString::to_string);
        let figures = names.iter().map(|name| result.figure(name).as_ref().map(show).unwrap_or_default());
        shown.add_row(changes.chain(figures));
    }
    let replications = results.first().map_or(0, |result| result.replications);
    format!("{shown}\n{} cells, {replications} replications each; ± are 95 % intervals\n", results.len())
}
