//! The command line of the simulator: reads arguments, calls the library, shows what it found.

mod commands;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C; long runs look at it between replications.
static STOP: AtomicBool = AtomicBool::new(false);

/// Replays session traces on a modelled cloud or cluster, and tells which checkpoint policies pay.
#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one scenario (without a file: a bundled one).
    Run(commands::run::Arguments),
    /// Run a grid of scenarios on all cores, or as a Slurm job array.
    Sweep(commands::sweep::Arguments),
    /// Run two scenarios under the same randomness and show the difference.
    Compare(commands::compare::Arguments),
    /// Check the simulator against theory and published results.
    Validate(commands::validate::Arguments),
    /// Turn other people's traces into session traces.
    Import(commands::traces::Import),
    /// Fit a generator to a trace.
    Fit(commands::traces::Fit),
    /// Generate traces from a specification.
    Generate(commands::traces::Generate),
    /// Fit the cost model to the event log of real runs.
    Calibrate(commands::calibrate::Arguments),
    /// Make one self-contained page of results.
    Report(commands::report::Arguments),
    /// Write completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Files appear whole or not at all, so all that is left to do on Ctrl-C is to stop soon.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(error) if commands::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stasis-sim: {error:#}");
            ExitCode::from(if STOP.load(Ordering::Relaxed) { 130 } else { 1 })
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Sweep(arguments) => commands::sweep::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Validate(arguments) => commands::validate::run(&arguments),
        Command::Import(arguments) => commands::traces::import(&arguments),
        Command::Fit(arguments) => commands::traces::fit(&arguments),
        Command::Generate(arguments) => commands::traces::generate(&arguments),
        Command::Calibrate(arguments) => commands::calibrate::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "stasis-sim", &mut script);
            commands::print(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
