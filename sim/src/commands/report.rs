//! `report`: a page from result files.

use anyhow::Context as _;
use stasis_sim::result::Saved;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `report` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Results that `run` or `sweep` wrote as JSON.
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Where the page goes.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut results = Vec::new();
    for path in &arguments.results {
        results.extend(read(path)?);
    }
    let page = stasis_sim::report::page(&results)?;
    stasis_sim::output::write(&arguments.output, page.as_bytes())?;
    eprintln!("wrote {}", arguments.output.display());
    Ok(ExitCode::SUCCESS)
}

/// One result or a list of them.
fn read(path: &Path) -> anyhow::Result<Vec<Saved>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("couldn't read {}", path.display()))?;
    let wrong = || format!("{} is not a result of stasis-sim", path.display());
    if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).with_context(wrong)
    } else {
        Ok(vec![serde_json::from_str(&text).with_context(wrong)?])
    }
}
