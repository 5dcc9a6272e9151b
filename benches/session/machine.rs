//! What the figures were measured on: without it they say nothing.

use anyhow::Context;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A machine and what ran on it.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// Its cores, as the kernel counts them.
    pub cores: usize,
    /// Cores that the measured session's job has.
    pub job_cores: u32,
    /// Memory in GB.
    pub memory_gb: f64,
    /// What of it was free, in GB.
    pub available_gb: f64,
    /// The kernel's release.
    pub kernel: String,
    /// Load average over a minute when the bench began.
    pub load: f64,
    /// Day of the measurement.
    pub date: String,
    /// Programs and their versions.
    pub versions: Vec<String>,
}

impl Machine {
    /// This one, now.
    pub fn look() -> anyhow::Result<Self> {
        let cpus = read("/proc/cpuinfo")?;
        let field = |name: &str| cpus.lines().find_map(|line| line.strip_prefix(name)?.split_once(": "));
        let family = field("cpu family").map(|(_, family)| format!(", family {family}")).unwrap_or_default();
        let model = field("model name").map_or("unknown", |(_, name)| name);
        let load = read("/proc/loadavg")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            cpu: format!("{model}{family}"),
            cores,
            job_cores: cores as u32,
            memory_gb: memory_gb("MemTotal:")?,
            available_gb: available_gb()?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::MAX),
            date: said("date", &["+%F"]),
            versions: vec![format!("Stasis {}{}", env!("CARGO_PKG_VERSION"), revision())],
        })
    }
}

/// GB of memory that are free, or would be if somebody needed them.
pub fn available_gb() -> anyhow::Result<f64> {
    memory_gb("MemAvailable:")
}

fn memory_gb(name: &str) -> anyhow::Result<f64> {
    let memory = read("/proc/meminfo")?;
    let kb = memory
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<f64>().ok());
    kb.map(|kb| kb * 1024.0 / 1e9).with_context(|| format!("/proc/meminfo has no {name}"))
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// What a program printed, or nothing.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The commit of this checkout, and whether it was built as it is there.
fn revision() -> String {
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    let changed =
        !said("git", &["status", "--porcelain", "--untracked-files=no", "--", "../plugin"]).is_empty();
    match (commit.as_str(), changed) {
        ("", _) => String::new(),
        (_, false) => format!(" ({commit})"),
        (_, true) => format!(" ({commit} with changes)"),
    }
}
