//! How fast a session is frozen, saved, moved and brought back: Stasis beside plain CRIU and beside podman.
//!
//! Each run starts a Jupyter session with an array of a given size on the testbed's real cluster and measures, one
//! after the other and on the same disk,
//!
//! * Stasis: a checkpoint on request with the session going on, then a preemption to the other node;
//! * `criu dump` and `criu restore` of that same session by hand, with the options that Stasis gives CRIU;
//! * `podman container checkpoint --export` and `restore --import` of the same programs in a container.
//!
//! A session is back when its kernel has answered a request that needs the array; the whole array is checked
//! afterwards, untimed. The table has the fastest of the runs and their median.
//!
//! `cargo bench -p stasis-benches --bench session -- --help` tells the options. It needs root, and a machine that
//! has nothing else to do.

mod jupyter;
mod machine;
mod plain;
mod podman;
mod results;
mod rig;
mod stasis;
mod table;
mod workload;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use machine::Machine;
use results::{Method, Results};
use rig::Rig;
use std::path::Path;
use workload::Workload;

/// A machine whose load average is above this many processes per core is busy with something else.
const LOAD_PER_CORE_MAX: f64 = 0.3;
/// Room for the server, the kernel and their libraries, and for what CRIU and the image store hold while they work.
const BASE_MB: u64 = 2000;

/// Measures how fast sessions are checkpointed, moved and restored, beside plain CRIU and podman.
#[derive(Debug, Parser)]
#[command(name = "session", version)]
struct Options {
    /// Sizes of the sessions' arrays, in GB.
    #[arg(long, value_delimiter = ',', default_value = "0.1,1,4")]
    sizes: Vec<f64>,
    /// How many times each size is measured; the table has the fastest and the median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// What to measure. Plain CRIU is measured on the session that Stasis has started.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Method::ALL)]
    only: Vec<Method>,
    /// Memory of a session's job, in MB; if not given, twice the largest array and 2000. What is written to files while
    /// a session is saved and restored counts towards it, so too little makes the kernel wait for the disk.
    #[arg(long)]
    memory_mb: Option<u64>,
    /// Cores of a session's job; all of the machine's if not given. Stasis works on the job's cores, while plain CRIU and
    /// podman are bound to none.
    #[arg(long)]
    cpus: Option<u32>,
    /// Print every sample as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Write the table into benches/README.md too.
    #[arg(long)]
    write: bool,
    /// Measure although the machine is busy.
    #[arg(long)]
    force: bool,
}

fn main() -> anyhow::Result<()> {
    // `cargo bench` tells every bench that it is one.
    let options = Options::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    ensure!(nix::unistd::geteuid().is_root(), "this boots a cluster of namespaces: run it as root");
    let largest = options.sizes.iter().copied().fold(0.0, f64::max);
    ensure!(
        options.sizes.iter().all(|size| (0.001..=1000.0).contains(size)),
        "--sizes: GB from 0.001 to 1000"
    );
    let mut machine = Machine::look()?;
    machine.job_cores = options.cpus.unwrap_or(machine.job_cores);
    refuse_if_busy(&machine, options.force)?;
    ensure!(
        machine.available_gb > 2.0 * largest + 2.0,
        "a session of {largest} GB is held twice for a moment, and {:.1} GB of memory are free: choose --sizes",
        machine.available_gb
    );
    let results = measure(&options, &mut machine)?;
    let table = table::markdown(&results, &machine);
    if options.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({ "machine": machine, "samples": results }))?
        );
    } else {
        println!("{table}");
    }
    if options.write {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        table::write_into(&readme, &table).with_context(|| format!("cannot write {}", readme.display()))?;
    }
    Ok(())
}

fn refuse_if_busy(machine: &Machine, force: bool) -> anyhow::Result<()> {
    let limit = LOAD_PER_CORE_MAX * machine.cores as f64;
    ensure!(
        force || machine.load <= limit,
        "the load average is {:.1} on {} cores, so the machine is busy and the figures would say nothing: wait until it \
         is below {limit:.1}, or give --force",
        machine.load,
        machine.cores
    );
    Ok(())
}

/// All sizes and runs. One that fails is told, counted and left out.
fn measure(options: &Options, machine: &mut Machine) -> anyhow::Result<Results> {
    let wanted = |method| options.only.contains(&method);
    let largest = options.sizes.iter().copied().fold(0.0, f64::max);
    let rig = if wanted(Method::Stasis) || wanted(Method::Criu) {
        eprintln!("booting the cluster");
        Some(Rig::up(machine.job_cores, options.memory_mb.unwrap_or((largest * 2000.0) as u64 + BASE_MB))?)
    } else {
        None
    };
    let podman = wanted(Method::Podman).then(podman::Podman::start).and_then(|started| {
        started.inspect_err(|error| eprintln!("podman does not run here, and is left out: {error:#}")).ok()
    });
    machine.versions.extend(rig.iter().flat_map(Rig::versions));
    machine.versions.extend(podman.iter().flat_map(|podman| podman.versions.clone()));
    let mut results = Results::default();
    for &size_gb in &options.sizes {
        for run in 1..=options.runs {
            let workload = Workload { bytes: (size_gb * 1e9) as u64, seed: u64::from(run) };
            eprintln!("{size_gb} GB, run {run} of {}", options.runs);
            if let Some(rig) = &rig {
                let mut samples = Vec::new();
                let outcome = stasis::measure(rig, &workload, &options.only, &mut samples);
                results.take("stasis and criu", size_gb, samples, outcome);
            }
            if let Some(podman) = &podman {
                let mut samples = Vec::new();
                let outcome = podman.measure(&workload).map(|sample| samples.push(sample));
                results.take("podman", size_gb, samples, outcome);
            }
        }
    }
    Ok(results)
}

impl ValueEnum for Method {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}
