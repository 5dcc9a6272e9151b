//! `compare`: two scenarios under the same randomness, and whether their difference is real.

use super::{Replications, print, progress, scenario, show, table, watch};
use anyhow::ensure;
use serde::Serialize;
use stasis_sim::model::metrics::Metrics;
use stasis_sim::replicate::{Amount, all};
use stasis_sim::statistics::{Estimate, estimate, paired_difference};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `compare` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// One scenario.
    a: PathBuf,
    /// The other; it should differ in nothing but what is compared.
    b: PathBuf,
    #[command(flatten)]
    replications: Replications,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    figure: &'static str,
    a: Estimate,
    b: Estimate,
    difference: Estimate,
    significant: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.replications.set_threads()?;
    let a = scenario(Some(&arguments.a))?;
    let b = scenario(Some(&arguments.b))?;
    ensure!(
        a.scenario.seed == b.scenario.seed,
        "the scenarios have different seeds ({} and {}): pairs would not meet the same randomness",
        a.scenario.seed,
        b.scenario.seed
    );
    let bar = progress(None, "replications");
    let done = || bar.inc(1);
    let runs_a = all(&a, arguments.replications.amount(&a), &watch(&done))?;
    let runs_b = all(&b, Amount::Fixed(runs_a.len() as u64), &watch(&done))?;
    bar.finish_and_clear();
    let lines = lines(&runs_a, &runs_b);
    if arguments.json {
        print(&serde_json::to_string_pretty(&serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "a": a.scenario,
            "b": b.scenario,
            "replications": runs_a.len(),
            "figures": lines,
        }))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = [&a.scenario.name, &b.scenario.name];
    let mut shown =
        table(&["figure", &format!("A: {}", names[0]), &format!("B: {}", names[1]), "B - A", "of A", ""]);
    for line in &lines {
        let part = 100.0 * line.difference.mean / line.a.mean;
        let part = if part.is_finite() { format!("{part:+.1} %") } else { String::new() };
        let star = if line.significant { "*" } else { "" };
        shown.add_row([line.figure, &show(&line.a), &show(&line.b), &show(&line.difference), &part, star]);
    }
    print(&format!(
        "{shown}\n{} replications in pairs, seed {}; * the 95 % interval of the difference leaves out 0\n{}",
        runs_a.len(),
        a.scenario.seed,
        if runs_a.len() < 2 { "one replication has no interval: use --replications\n" } else { "" }
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn lines(runs_a: &[Metrics], runs_b: &[Metrics]) -> Vec<Line> {
    let tables_a: Vec<_> = runs_a.iter().map(Metrics::scalars).collect();
    let tables_b: Vec<_> = runs_b.iter().map(Metrics::scalars).collect();
    let Some(first) = tables_a.first() else { return Vec::new() };
    let value =
        |table: &Vec<(&'static str, f64)>, name| table.iter().find(|pair| pair.0 == name).map(|pair| pair.1);
    let mut lines = Vec::new();
    for &(figure, _) in first {
        let pairs = tables_a.iter().zip(&tables_b);
        let pairs = pairs.filter_map(|(a, b)| Some((value(a, figure)?, value(b, figure)?)));
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.filter(|(a, b)| a.is_finite() && b.is_finite()).unzip();
        let zero = |values: &[f64]| values.iter().all(|value| value.abs() <= 0.0);
        if a.is_empty() || (zero(&a) && zero(&b)) {
            continue;
        }
        let difference = paired_difference(&a, &b);
        let significant = difference.is_significant();
        lines.push(Line { figure, a: estimate(&a), b: estimate(&b), difference, significant });
    }
    lines
}
