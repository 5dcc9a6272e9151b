//! `import`, `fit` and `generate`: thin over `stasis-workloads`, which does the work.

use super::{print, table, until_stopped};
use anyhow::{Context as _, bail};
use stasis_workloads::fit::{fit_lifetime_trace, fit_sessions};
use stasis_workloads::format::{open_sessions, write_sessions};
use stasis_workloads::generate::{self, GeneratorSpec};
use stasis_workloads::import::swf::{SwfHeader, SwfReader, write_swf};
use stasis_workloads::import::{jobs_as_sessions, jupyterhub, lifetimes, notebookos, sacct, spot_json};
use stasis_workloads::{NS_PER_S, Session, TraceError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Formats that sessions are imported from.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Standard Workload Format.
    Swf,
    /// `sacct --parsable2`.
    Sacct,
    /// JupyterHub's log.
    Jupyterhub,
    /// NotebookOS's CSV.
    Notebookos,
    /// This project's own CSV or Parquet, to convert or to check.
    Sessions,
}

/// What `import` can be told.
#[derive(clap::Args)]
pub struct Import {
    /// What the trace is.
    format: Format,
    /// The trace.
    trace: PathBuf,
    /// Where the sessions go.
    #[arg(short, long, value_name = "FILE", default_value = "sessions.csv")]
    output: PathBuf,
}

pub fn import(arguments: &Import) -> anyhow::Result<ExitCode> {
    let path = &arguments.trace;
    let sessions: Box<dyn Iterator<Item = Result<Session, TraceError>> + '_> = match arguments.format {
        Format::Swf => Box::new(jobs_as_sessions(path, SwfReader::open(path)?)),
        Format::Sacct => Box::new(jobs_as_sessions(path, sacct::jobs(path)?)),
        Format::Jupyterhub => Box::new(jupyterhub::sessions(path, jupyterhub::Options::default())?),
        Format::Notebookos => Box::new(notebookos::sessions(path, notebookos::Options::default())?),
        Format::Sessions => open_sessions(path)?,
    };
    let (mut span_ns, mut busy_ns) = (0u128, 0u128);
    let counted = until_stopped(path, sessions).inspect(|session| {
        if let Ok(session) = session {
            span_ns += u128::from(session.span_ns());
            busy_ns += u128::from(session.busy_ns());
        }
    });
    let count = write_sessions::<TraceError>(&arguments.output, counted)?;
    let hours = |ns: u128| ns as f64 / NS_PER_S as f64 / 3600.0;
    print(&format!(
        "{count} sessions, {:.1} h in all, {:.1} h of them busy ({:.0} %)\nwrote {}\n",
        hours(span_ns),
        hours(busy_ns),
        100.0 * hours(busy_ns) / hours(span_ns).max(f64::MIN_POSITIVE),
        arguments.output.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What `fit` can be told.
#[derive(clap::Args)]
pub struct Fit {
    /// A session trace, or with --lifetimes a CSV of machine lifetimes.
    trace: PathBuf,
    /// The trace is of lifetimes.
    #[arg(long)]
    lifetimes: bool,
    /// Where the generator's specification goes.
    #[arg(short, long, value_name = "FILE", default_value = "generator.toml")]
    output: PathBuf,
}

pub fn fit(arguments: &Fit) -> anyhow::Result<ExitCode> {
    let path = &arguments.trace;
    let mut shown = table(&["quantity", "law", "KS distance", "AIC"]);
    let spec = if arguments.lifetimes {
        let fits = fit_lifetime_trace(path, until_stopped(path, lifetimes::LifetimeReader::open(path)?))?;
        for law in &fits.laws {
            shown.add_row([
                "lifetime".into(),
                law.law.name().into(),
                format!("{:.4}", law.ks),
                format!("{:.0}", law.aic),
            ]);
        }
        let lifetimes = generate::LifetimeSpec { count: fits.samples as u64, law: fits.best().law };
        GeneratorSpec { lifetimes: Some(lifetimes), ..GeneratorSpec::default() }
    } else {
        let fit = fit_sessions(path, until_stopped(path, open_sessions(path)?))?;
        for (quantity, fits) in &fit.quantities {
            for law in &fits.laws {
                shown.add_row([
                    (*quantity).into(),
                    law.law.name().into(),
                    format!("{:.4}", law.ks),
                    format!("{:.0}", law.aic),
                ]);
            }
        }
        for note in &fit.notes {
            eprintln!("note: {note}");
        }
        GeneratorSpec { sessions: Some(fit.spec), ..GeneratorSpec::default() }
    };
    stasis_sim::output::write(&arguments.output, spec.to_toml()?.as_bytes())?;
    print(&format!("{shown}\nthe best by AIC is used; wrote {}\n", arguments.output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What `generate` can be told.
#[derive(clap::Args)]
pub struct Generate {
    /// The generator's specification (TOML).
    spec: PathBuf,
    /// Folder that the traces go to: `sessions.csv`, `jobs.swf`, `lifetimes.csv`, `spot.json`, as specified.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn generate(arguments: &Generate) -> anyhow::Result<ExitCode> {
    let spec = GeneratorSpec::read(&arguments.spec)?;
    let seed = arguments.seed;
    if !arguments.output.is_dir() {
        bail!("{} is not a folder", arguments.output.display());
    }
    let mut wrote = Vec::new();
    let mut at = |name: &str, count: u64| {
        wrote.push(format!("wrote {} ({count})", arguments.output.join(name).display()));
    };
    let place = |name: &str| arguments.output.join(name);
    let bad = |e: stasis_workloads::Invalid| e.at(Path::new(&arguments.spec), 0);
    if let Some(sessions) = &spec.sessions {
        let trace = generate::sessions(sessions, seed, 0).map_err(bad)?.map(Ok);
        let trace = until_stopped(&arguments.spec, trace);
        at("sessions.csv", write_sessions::<TraceError>(&place("sessions.csv"), trace)?);
    }
    if let Some(jobs) = &spec.jobs {
        let trace = generate::jobs(jobs, seed, 0).map_err(bad)?.map(Ok);
        let trace = until_stopped(&arguments.spec, trace);
        at("jobs.swf", write_swf(&place("jobs.swf"), SwfHeader::default(), trace)?);
    }
    if let Some(lives) = &spec.lifetimes {
        let trace = generate::lifetimes_ns(lives, seed, 0).map_err(bad)?;
        at("lifetimes.csv", lifetimes::write_lifetimes(&place("lifetimes.csv"), trace)?);
    }
    if let Some(spot) = &spec.spot {
        let trace = generate::spot(spot, seed, 0).map_err(bad)?;
        spot_json::write(&place("spot.json"), &trace)?;
        at("spot.json", trace.ticks());
    }
    print(&wrote.join("\n")).context("couldn't print")?;
    Ok(ExitCode::SUCCESS)
}
