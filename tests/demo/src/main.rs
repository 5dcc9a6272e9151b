//! The program `stasis-demo`: shows on a real cluster what Stasis does, and ends with what it cost.
//!
//! It takes the cluster down however it ends, unless it is asked to keep it.

mod checks;
mod error;
mod listener;
mod screen;
mod session;
mod story;
mod timeline;
mod walk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use stasis_contract::Event;
use stasis_testbed::{Cluster, artifacts};

use crate::screen::Screen;
use crate::story::{Evidence, Options, Report, Story, boot};

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Preempt a Jupyter session on a real Slurm cluster, and see it come back on another node.
///
/// Boots a cluster in namespaces of this machine. On it alice starts JupyterLab through `sbatch --stasis`, with a
/// large array, a cell that counts aloud, a terminal with a variable and an open file. Bob's job in a partition of
/// higher priority takes her node. Stasis freezes her session, saves it, and restores it on another node; then
/// everything is compared with what it was, and a chart shows where the seconds went.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  stasis-demo                        the whole of it, in about half a minute
  stasis-demo --size-mb 2000         a larger session: how much longer does it take?
  stasis-demo --keep                 leave it running, to open it in a browser and preempt it again
  stasis-demo --json                 for programs: what people read goes to standard error
  stasis-demo --json 2>/dev/null | jq .result.totals

It needs root, for the cluster's namespaces and cgroups, and Stasis built by the same cargo
profile. `make demo` builds it, and hands on: make demo DEMO_ARGS='--size-mb 2000 --keep'

Exit status: 0 if everything survived; 1 if anything did not, with the step, the last events and
the end of the job's output; 130 after Ctrl-C. The cluster is taken down in every case; --keep
spares it unless Ctrl-C was pressed."
)]
struct Cli {
    /// Size of the array in MB; it is noise, so no compression makes the image smaller
    #[arg(long, value_name = "MB", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    size_mb: u64,
    /// How many compute nodes the cluster has: one for bob, one to go to, and more to choose from
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=50))]
    nodes: u16,
    /// Leave the cluster up at the end, and say how to look at it and how to take it down
    #[arg(long)]
    keep: bool,
    /// Print the result as one JSON document on standard output
    #[arg(long)]
    json: bool,
    /// Name of the cluster; clusters of different names live side by side
    #[arg(long, default_value = "demo")]
    name: String,
    /// Folder of libspank_stasis.so, stasis-shepherd, stasis-capsule, stasis-reaper and stasis [default: this program's own]
    #[arg(long, value_name = "DIR", env = "STASIS_ARTIFACTS", hide_env_values = true)]
    artifacts: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stasis-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything survived.
fn run(cli: &Cli) -> Result<bool> {
    let artifacts = cli.artifacts.clone().map_or_else(artifacts::folder, Ok)?;
    let options = Options {
        name: cli.name.clone(),
        nodes: cli.nodes.into(),
        size_mb: cli.size_mb,
        artifacts: artifacts.clone(),
    };
    let screen = Arc::new(Screen::new(cli.json));
    let interrupt = Interrupt::catch(&screen, &options.name)?;
    let booted = interrupt.unless_booting(|| boot(&screen, &options));
    let cluster = match booted {
        Ok(cluster) => cluster,
        Err(error) => {
            interrupt.wait_if_any();
            fail(&screen, cli.json, &error, &Evidence::default());
            return Ok(false);
        }
    };
    let mut story = Story::new(&screen, &cluster, &options);
    let told = story.tell();
    interrupt.wait_if_any();
    let good = match &told {
        Ok(report) => {
            if cli.json {
                print_json(&json!({ "ok": true, "cluster": options.name, "kept": cli.keep, "result": report,
                    "steps": screen.steps() }));
            }
            true
        }
        Err(error) => {
            fail(&screen, cli.json, error, &story.evidence());
            false
        }
    };
    screen.line("");
    if good {
        let how = console::Style::new().green().bold();
        screen.line(&screen.paint("Everything survived.", &how));
    }
    leave(&screen, cluster, cli.keep, told.as_ref().ok(), &artifacts)?;
    Ok(good)
}

/// Takes the cluster down, or says how to go on with it.
fn leave(
    screen: &Screen,
    mut cluster: Cluster,
    keep: bool,
    report: Option<&Report>,
    artifacts: &Path,
) -> Result<()> {
    if keep {
        cluster.keep();
        say_how_to_go_on(screen, &cluster, report, artifacts);
        return Ok(());
    }
    screen.step("taking the cluster down", |_| {
        cluster.down()?;
        Ok(("the cluster is down, and nothing of it is left".to_owned(), ()))
    })?;
    Ok(())
}

fn say_how_to_go_on(screen: &Screen, cluster: &Cluster, report: Option<&Report>, artifacts: &Path) {
    let name = &cluster.spec().name;
    let testbed = format!("{} --name {name}", testbed(artifacts).display());
    screen.heading(&format!("The cluster {name} is still up"));
    let mut ways = Vec::new();
    if let Some(report) = report {
        let ip = cluster.ip(&report.to).map(|ip| ip.to_string()).unwrap_or_default();
        ways.push(("see the session in a browser on this machine", report.url.clone()));
        ways.push((
            "or elsewhere: then at http://localhost:8888",
            format!("ssh -L 8888:{ip}:8888 THIS_MACHINE"),
        ));
        let urgent = format!(
            "{testbed} exec ctl --user bob -- sbatch -p high -w {} --exclusive --mem=100 --wrap 'sleep 60'",
            report.to
        );
        ways.push(("preempt it again", urgent));
        let show = format!("{testbed} exec ctl --user alice -- stasis show {}", report.job_id);
        ways.push(("its images and its log", show));
    }
    ways.push(("the queue", format!("{testbed} exec ctl -- squeue")));
    ways.push(("a shell on a node", format!("{testbed} exec n2 -- bash")));
    ways.push(("take it down", format!("{testbed} down")));
    for (what, command) in ways {
        screen.line(&format!("  {what}"));
        screen.line(&format!("      {command}"));
    }
}

/// The program `stasis-testbed`, if it is where cargo puts it.
fn testbed(artifacts: &Path) -> PathBuf {
    let name = "stasis-testbed";
    let places = [artifacts.join(name), artifacts.with_file_name("debug").join(name)];
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| name.into())
}

/// Tells a failure: the step and why, the job's output, the last events.
fn fail(screen: &Screen, json: bool, error: &error::Error, evidence: &Evidence) {
    screen.quote("The demonstration failed", &screen::wrap(&error.to_string(), screen::WIDTH).join("\n"));
    if !evidence.events.is_empty() {
        let lines: Vec<String> = evidence.events.iter().map(event_line).collect();
        screen.quote("The last events of the session", &lines.join("\n"));
    }
    if !evidence.job_output.is_empty() {
        screen.quote("The end of the job's output", &evidence.job_output);
    }
    if json {
        print_json(&json!({ "ok": false, "error": error.to_string(), "evidence": evidence,
            "steps": screen.steps() }));
    }
}

fn event_line(event: &Event) -> String {
    let step = format!("{:?}", event.step).to_lowercase();
    let took = event.seconds.map(stasis_contract::format_seconds).unwrap_or_default();
    let bytes = event.bytes.map(stasis_contract::format_bytes).unwrap_or_default();
    let message = event.message.as_deref().unwrap_or_default();
    let line =
        format!("run {} {:<4} {step:<9} {took:>8} {bytes:>10}  {message}", event.restart_count, event.node);
    line.trim_end().to_owned()
}

fn print_json(value: &serde_json::Value) {
    println!("{value:#}");
}

/// What happens on Ctrl-C, SIGTERM and SIGHUP: the cluster is taken down and the program ends.
struct Interrupt {
    seen: Arc<AtomicBool>,
    /// Whether there is a cluster of ours; held while that is being decided.
    booted: Arc<Mutex<bool>>,
}

impl Interrupt {
    fn catch(screen: &Arc<Screen>, name: &str) -> Result<Self> {
        let (seen, booted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(false)));
        let own = Self { seen: Arc::clone(&seen), booted: Arc::clone(&booted) };
        let (screen, name) = (Arc::clone(screen), name.to_owned());
        ctrlc::set_handler(move || {
            if seen.swap(true, Ordering::SeqCst) {
                return;
            }
            let quiet = screen.hush();
            screen.still();
            quiet("Interrupted: taking the cluster down.");
            // What is half made cannot be found yet: let it get up, which takes a second.
            let ours = *booted.lock().unwrap_or_else(PoisonError::into_inner);
            let code = match if ours { stasis_testbed::down(&name) } else { Ok(()) } {
                Ok(()) => INTERRUPTED,
                Err(error) => {
                    quiet(&format!("stasis-demo: {error}"));
                    1
                }
            };
            std::process::exit(code);
        })
        .context("cannot catch Ctrl-C")?;
        Ok(own)
    }

    /// Boots, while an interrupt waits. A boot that fails leaves nothing to take down.
    fn unless_booting<T>(&self, boot: impl FnOnce() -> error::Result<T>) -> error::Result<T> {
        let mut booted = self.booted.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = boot();
        *booted = cluster.is_ok();
        cluster
    }

    /// If there was an interrupt, leaves everything to it.
    fn wait_if_any(&self) {
        while self.seen.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
}
