//! `calibrate`: the cost model of real runs, ready to be pasted into a scenario.

use super::{print, table};
use anyhow::Context as _;
use stasis_contract::format_seconds;
use stasis_sim::calibrate::calibrate;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `calibrate` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Event lines of real runs (JSON Lines), as the shepherd writes them.
    events: PathBuf,
    /// Print JSON instead.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.events;
    let file = File::open(path).with_context(|| format!("couldn't open {}", path.display()))?;
    let found = calibrate(path, BufReader::new(file))?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = table(&["fitted to", "count", "typical error"]);
    shown.add_row(["dumps".into(), found.dumps.to_string(), format_seconds(found.dump_error_s)]);
    shown.add_row(["restores".into(), found.restores.to_string(), format_seconds(found.restore_error_s)]);
    let notes = found.notes.iter().fold(String::new(), |text, note| text + "# " + note + "\n");
    eprintln!("{shown}");
    print(&format!("{notes}[cost]\n{}", toml::to_string(&found.cost)?))?;
    Ok(ExitCode::SUCCESS)
}
