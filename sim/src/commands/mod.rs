//! One file per command; this one holds what they share: reading scenarios, progress, tables, writing.

pub mod calibrate;
pub mod compare;
pub mod report;
pub mod run;
pub mod slurm;
pub mod sweep;
pub mod traces;
pub mod validate;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use stasis_sim::replicate::{Amount, Watch};
use stasis_sim::result::RunResult;
use stasis_sim::scenario::{Prepared, Scenario};
use stasis_sim::statistics::Estimate;
use stasis_workloads::TraceError;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// The scenario that runs when none is named.
const BUNDLED: &str = include_str!("../../scenarios/spot-and-idle.toml");

/// Reads and prepares a scenario; without a path, the bundled one.
pub fn scenario(path: Option<&Path>) -> anyhow::Result<Prepared> {
    let Some(path) = path else {
        let scenario = Scenario::parse(Path::new("(bundled scenario)"), BUNDLED)?;
        return Ok(scenario.prepare(Path::new("."))?);
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("couldn't read {}", path.display()))?;
    Ok(Scenario::parse(path, &text)?.prepare(&directory(path))?)
}

/// The directory that a file's relative paths start from.
pub fn directory(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// What several commands let the user choose about replications.
#[derive(clap::Args)]
pub struct Replications {
    /// How many replications [default: the scenario's].
    #[arg(long = "replications", value_name = "N")]
    count: Option<std::num::NonZeroU64>,
    /// Go on until the 95 % interval of the money is this narrow, such as `1%`.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "count")]
    until_halfwidth: Option<f64>,
    /// Threads to use [default: all cores]. The results do not depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

impl Replications {
    pub fn amount(&self, prepared: &Prepared) -> Amount {
        match (self.until_halfwidth, self.count) {
            (Some(halfwidth), _) => Amount::UntilHalfwidth(halfwidth),
            (None, Some(count)) => Amount::Fixed(count.get()),
            (None, None) => Amount::Fixed(prepared.scenario.replications),
        }
    }

    pub fn set_threads(&self) -> anyhow::Result<()> {
        threads(self.threads)
    }
}

/// Lets rayon use so many threads.
pub fn threads(count: Option<std::num::NonZeroUsize>) -> anyhow::Result<()> {
    if let Some(count) = count {
        rayon::ThreadPoolBuilder::new()
            .num_threads(count.get())
            .build_global()
            .context("couldn't start threads")?;
    }
    Ok(())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').ok_or("needs a percent sign, as in 1%")?;
    let value: f64 = number.trim().parse().map_err(|_| "is not a number of percent")?;
    if value > 0.0 && value < 100.0 {
        Ok(value / 100.0)
    } else {
        Err("must be above 0% and below 100%".into())
    }
}

/// A progress bar on standard error, with an estimate; silent where that is no terminal.
pub fn progress(total: Option<u64>, what: &'static str) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match total {
        Some(_) => "{msg} {wide_bar} {pos}/{len}  {elapsed} elapsed, {eta} left",
        None => "{msg} {pos} done  {elapsed} elapsed",
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what);
    bar
}

/// Watches a run with a progress bar and Ctrl-C.
pub fn watch(done: &(dyn Fn() + Sync)) -> Watch<'_> {
    Watch { done, stop: &crate::STOP }
}

/// A trace that breaks off with an error on Ctrl-C, so that nothing is written of it.
pub fn until_stopped<T>(
    path: &Path,
    trace: impl Iterator<Item = Result<T, TraceError>>,
) -> impl Iterator<Item = Result<T, TraceError>> {
    trace.map(move |item| {
        let stop = crate::STOP.load(Ordering::Relaxed);
        if stop { Err(TraceError::bad(path, 0, "", "interrupted; nothing was written")) } else { item }
    })
}

/// Prints to standard output.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// True if the reader of our output has gone, which is no error.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A table with a head; all columns but the first are aligned right.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A figure for people: about four digits, and its interval.
pub fn show(estimate: &Estimate) -> String {
    // Rounding alone is no uncertainty.
    let half = estimate.halfwidth.filter(|&half| half > 1e-9 * estimate.mean.abs());
    match half {
        Some(half) => format!("{} ± {}", number(estimate.mean), number(half)),
        None => number(estimate.mean),
    }
}

/// A number for people.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "–".into(),
        0.0 => "0".into(),
        a if a >= 1000.0 => grouped(value),
        a if a >= 100.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        a if a >= 0.1 => format!("{value:.2}"),
        a if a >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// A whole number with a comma between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// Writes results where the user wants them: JSON, or CSV by the ending of the name.
pub fn write_results(path: &Path, results: &[RunResult], as_list: bool) -> anyhow::Result<()> {
    let bytes = if path.extension().is_some_and(|ending| ending == "csv") {
        csv_bytes(results)?
    } else {
        let mut bytes = match results {
            [one] if !as_list => serde_json::to_vec_pretty(one)?,
            many => serde_json::to_vec_pretty(many)?,
        };
        bytes.push(b'\n');
        bytes
    };
    stasis_sim::output::write(path, &bytes)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// One line per result and figure.
fn csv_bytes(results: &[RunResult]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "scenario",
        "cell",
        "seed",
        "version",
        "replications",
        "figure",
        "mean",
        "halfwidth_95",
    ])?;
    for result in results {
        let cell =
            result.cell.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        for figure in &result.figures {
            writer.write_record([
                &result.scenario.name,
                &cell,
                &result.scenario.seed.to_string(),
                result.version,
                &result.replications.to_string(),
                figure.name,
                &figure.estimate.mean.to_string(),
                &figure.estimate.halfwidth.map(|half| half.to_string()).unwrap_or_default(),
            ])?;
        }
    }
    Ok(writer.into_inner()?)
}
