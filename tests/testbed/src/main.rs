//! The program `stasis-testbed`: a thin hand on the library, for people and scripts.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use stasis_testbed::{Cluster, ClusterSpec, InstallFile, Status, image};

/// Boot a real Slurm cluster on this machine, in namespaces, and play with it.
///
/// A cluster has a controller `ctl` (log in there: sbatch, squeue, ...) and compute nodes n1, n2, ... Its nodes
/// share /home and /shared, know the users alice and bob, and offer two partitions over the same nodes: a job in
/// `high` preempts one in `low` (the default), which is requeued.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 110,
    after_help = "\
A first walk:
  stasis-testbed up --nodes 2
  stasis-testbed exec ctl --user alice -- sbatch --wrap 'sleep 60'
  stasis-testbed exec ctl -- squeue
  stasis-testbed kill n1
  stasis-testbed start n1
  stasis-testbed down

Environment:
  STASIS_TESTBED_DIR   where clusters keep their files [/var/lib/stasis-testbed]
  STASIS_CACHE         where the node image is kept [/var/cache/stasis]"
)]
struct Cli {
    /// The cluster's name; clusters of different names live side by side
    #[arg(long, global = true, default_value = "stasis")]
    name: String,
    /// Print the result as JSON (up, status, image)
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Boot a cluster and wait until all its nodes are idle
    Up(UpArgs),
    /// Tell what is up
    Status,
    /// Run a command on a node; its exit status becomes this program's
    #[command(after_help = "Example: stasis-testbed exec ctl --user alice -- sbatch --wrap hostname")]
    Exec {
        /// The node: ctl, n1, n2, ...
        node: String,
        /// Who runs it, in their home and with a login's environment
        #[arg(long, default_value = "root")]
        user: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Take a node's power away: everything on it is gone at once, its disk stays
    Kill {
        /// The node
        node: String,
    },
    /// Boot a node that has no power
    Start {
        /// The node
        node: String,
    },
    /// Pull a node's network cable
    Cut {
        /// The node
        node: String,
    },
    /// Put a node's network cable back
    Heal {
        /// The node
        node: String,
    },
    /// Put a file of this machine into every node, replacing the one that is there
    ///
    /// Nodes that have no power get it when they start.
    Install {
        /// HOSTPATH:NODEPATH[:MODE], the mode in octal [default: the file's own]
        #[arg(required = true)]
        files: Vec<InstallFile>,
    },
    /// Show the end of the logs: of a node, or of all
    Logs {
        /// The node; all if none is given
        node: Option<String>,
        /// How many lines of each log
        #[arg(long, short = 'n', default_value_t = 40)]
        lines: usize,
    },
    /// Remove a cluster with all that belongs to it, also one that broke while it booted
    Down,
    /// Build the node image if it is not there yet, and print its path as the last line
    Image,
}

#[derive(Args)]
struct UpArgs {
    /// How many compute nodes, beside the controller
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    /// How many CPUs each node claims (may be more than this machine has)
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// How much memory each node claims, in MiB
    #[arg(long, default_value_t = 8000)]
    memory_mb: u64,
    /// How long a preempted job may go on, in seconds (GraceTime of the partition low)
    #[arg(long, default_value_t = 60)]
    grace: u32,
    /// Do not set PreemptParameters=send_user_signal: a preempted batch job gets no notice
    #[arg(long)]
    no_user_signal: bool,
    /// Copy a file into every node before the daemons start: HOSTPATH:NODEPATH[:MODE] (repeatable)
    #[arg(long, value_name = "FILE")]
    install: Vec<InstallFile>,
    /// Add a line to plugstack.conf (repeatable)
    #[arg(long, value_name = "LINE")]
    plugstack: Vec<String>,
    /// Add a line to slurm.conf, in place of the default with the same key (repeatable)
    #[arg(long, value_name = "LINE")]
    slurm_conf: Vec<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stasis-testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let attach = || Cluster::attach(&cli.name);
    match cli.command {
        Verb::Up(args) => up(cli.name, args, cli.json)?,
        Verb::Status => show(&attach()?.status(), cli.json)?,
        Verb::Exec { node, user, command } => {
            let argv: Vec<&str> = command.iter().map(String::as_str).collect();
            // Becoming the command hands over the streams and the exit status as they are.
            let error = attach()?.node(&node)?.command(&user, &argv)?.exec();
            return Err(error).context("couldn't start bash");
        }
        Verb::Kill { node } => attach()?.kill(&node)?,
        Verb::Start { node } => attach()?.start(&node)?,
        Verb::Cut { node } => attach()?.cut(&node)?,
        Verb::Heal { node } => attach()?.heal(&node)?,
        Verb::Install { files } => {
            let cluster = attach()?;
            files.iter().try_for_each(|file| cluster.install(file))?;
        }
        Verb::Logs { node, lines } => logs(&attach()?, node.as_deref(), lines)?,
        Verb::Down => stasis_testbed::down(&cli.name)?,
        Verb::Image => {
            let path = image::ensure()?;
            let shown = path.display();
            if cli.json { println!("{}", serde_json::json!({ "image": path })) } else { println!("{shown}") }
        }
    }
    Ok(())
}

fn up(name: String, args: UpArgs, json: bool) -> Result<()> {
    let start = Instant::now();
    let mut cluster = Cluster::up(ClusterSpec {
        name,
        nodes: args.nodes,
        cpus: args.cpus,
        memory_mb: args.memory_mb,
        grace_time_s: args.grace,
        send_user_signal: !args.no_user_signal,
        plugstack: args.plugstack,
        slurm_conf: args.slurm_conf,
        install: args.install,
    })?;
    cluster.keep();
    eprintln!("up in {:.1} s", start.elapsed().as_secs_f64());
    show(&cluster.status(), json)
}

fn show(status: &Status, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(status)?);
        return Ok(());
    }
    println!("cluster {} in {}", status.name, status.dir.display());
    println!("{:<6} {:<15} {:<6} {:<8} slurm", "node", "address", "power", "network");
    for node in &status.nodes {
        let power = if node.up { "on" } else { "off" };
        let network = if node.connected { "in" } else { "out" };
        let slurm = node.slurm.as_deref().unwrap_or("-");
        println!("{:<6} {:<15} {power:<6} {network:<8} {slurm}", node.name, node.ip.to_string());
    }
    Ok(())
}

fn logs(cluster: &Cluster, node: Option<&str>, lines: usize) -> Result<()> {
    let nodes = match node {
        Some(name) => vec![cluster.node(name)?],
        None => cluster.nodes(),
    };
    let mut shown = 0;
    for path in nodes.iter().flat_map(stasis_testbed::Node::logs) {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        println!("==> {} <==", path.display());
        all[all.len().saturating_sub(lines)..].iter().for_each(|line| println!("{line}"));
        shown += 1;
    }
    if shown == 0 {
        bail!("no log there yet; did the node ever boot?");
    }
    Ok(())
}
