//! `run`: one scenario, its figures, and on request one session's life.

use super::{Replications, number, print, progress, scenario, show, table, watch, write_results};
use stasis_sim::attribution::attribute;
use stasis_sim::model::world;
use stasis_sim::replicate::{Amount, all};
use stasis_sim::result::RunResult;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `run` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// The scenario [default: a bundled one].
    scenario: Option<PathBuf>,
    #[command(flatten)]
    replications: Replications,
    /// Write the results here: `.json` or `.csv`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the results as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Do not run the variants that tell what each part of the policy saves.
    #[arg(long)]
    no_attribution: bool,
    /// Print one session's life event by event, in the first replication.
    #[arg(long, value_name = "SESSION")]
    explain: Option<u64>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.replications.set_threads()?;
    let prepared = scenario(arguments.scenario.as_deref())?;
    if let Some(session) = arguments.explain {
        let mut setup = prepared.setup(0);
        setup.explain = Some(session);
        let outcome = world::run(&setup, &mut prepared.sessions(0)?, &mut prepared.jobs(0)?)?;
        anyhow::ensure!(!outcome.explained.is_empty(), "the trace has no session {session}");
        print(&outcome.explained.join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let amount = arguments.replications.amount(&prepared);
    let total = match amount {
        Amount::Fixed(count) if arguments.no_attribution => Some(count),
        _ => None,
    };
    let bar = progress(total, "replications");
    let done = || bar.inc(1);
    let runs = all(&prepared, amount, &watch(&done))?;
    let attribution =
        if arguments.no_attribution { None } else { Some(attribute(&prepared, &runs, &watch(&done))?) };
    bar.finish_and_clear();
    let result = RunResult::new(prepared.scenario.clone(), &runs, attribution);
    if let Some(path) = &arguments.output {
        write_results(path, std::slice::from_ref(&result), false)?;
    }
    print(&if arguments.json { serde_json::to_string_pretty(&result)? } else { tables(&result) })?;
    Ok(ExitCode::SUCCESS)
}

/// Figures that everybody wants, in words.
const FIGURES: [(&str, &str); 17] = [
    ("money", "money"),
    ("saved_factor", "factor saved against always-on, on demand"),
    ("money_over_bound", "money over a bound that no policy beats"),
    ("felt_over_bound", "the same with waiting priced in"),
    ("start_wait_p50_s", "wait for a new session, p50 (s)"),
    ("resume_wait_p50_s", "wait after coming back, p50 (s)"),
    ("resume_wait_p95_s", "wait after coming back, p95 (s)"),
    ("resume_wait_p99_s", "wait after coming back, p99 (s)"),
    ("interruption_p95_s", "standstill after a preemption, p95 (s)"),
    ("interrupted_cells_per_1000_sessions", "cells cut short per 1000 sessions"),
    ("rerun_cells_per_1000_sessions", "cells run again per 1000 sessions"),
    ("killed_per_1000_sessions", "sessions killed per 1000 sessions"),
    ("lost_busy_s", "computing lost (s)"),
    ("preemptions", "machines that were taken away"),
    ("suspends", "suspends"),
    ("written_gb", "written to the store (GB)"),
    ("held_gb_max", "most held in the store (GB)"),
];

/// The result for people.
pub fn tables(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let mut text = format!(
        "{}: {}\n{} sessions, {} replications, seed {}, stasis-sim {}\n\n",
        scenario.name,
        scenario.description,
        result.sessions,
        result.replications,
        scenario.seed,
        result.version
    );
    let mut figures = table(&["figure", "mean ± 95 %"]);
    for (name, words) in FIGURES {
        if let Some(estimate) = result.figure(name) {
            figures.add_row([words.to_owned(), show(&estimate)]);
        }
    }
    let mut costs = table(&["market", "machines were", "hours", "money"]);
    for line in &result.costs {
        costs.add_row([line.market.into(), line.cause.name().into(), number(line.hours), number(line.money)]);
    }
    let _ = write!(text, "{figures}\n\n{costs}\n");
    if let Some(a) = &result.attribution {
        let _ = write!(
            text,
            "\nfactor saved {:.2} = idle {:.2} x spot {:.2} x right size {:.2} x overheads {:.2}  \
             (Shapley shares: these do multiply)\n",
            a.total, a.idle, a.spot, a.right_size, a.overhead
        );
    }
    if result.sessions_stuck > 0 {
        let _ = writeln!(text, "\n{} sessions never got a machine and are left out", result.sessions_stuck);
    }
    if result.unfinished_h > 0.0 {
        let _ = writeln!(text, "\n{} h of computing were left undone", number(result.unfinished_h));
    }
    text
}
