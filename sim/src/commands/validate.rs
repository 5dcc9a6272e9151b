//! `validate`: expected beside found, and a failure if they are too far apart.

use super::{number, print, table};
use stasis_sim::validate::{Check, validate};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `validate` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of public traces (`spot-2022/*.json`, `notebookos-tiresias.csv`); without it, what needs them
    /// is left out.
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &arguments.traces {
        anyhow::ensure!(folder.is_dir(), "{} is not a folder", folder.display());
    }
    let report = validate(arguments.traces.as_deref())?;
    let mut shown = table(&["", "figure", "expected", "found", "tolerance", "source"]);
    for check in &report.checks {
        let bound = match check.one_sided {
            None => "",
            Some(true) => "≥ ",
            Some(false) => "≤ ",
        };
        shown.add_row([
            if check.holds() { "ok".into() } else { "FAIL".to_string() },
            format!("{}: {}", check.topic, check.figure),
            format!("{bound}{}", digits(check.expected)),
            digits(check.found),
            if check.tolerance > 0.0 { number(check.tolerance) } else { "exact".into() },
            check.source.clone(),
        ]);
    }
    let failed = report.checks.iter().filter(|check| !Check::holds(check)).count();
    let skipped = report.skipped.iter().fold(String::new(), |text, what| text + "left out: " + what + "\n");
    print(&format!(
        "{shown}\n{skipped}{} of {} figures hold\n",
        report.checks.len() - failed,
        report.checks.len()
    ))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn digits(value: f64) -> String {
    if value.abs() >= 10.0 { format!("{value:.2}") } else { format!("{value:.3}") }
}
