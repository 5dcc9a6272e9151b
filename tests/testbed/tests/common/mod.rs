//! What the testbed's own tests share: who may run them, names that do not collide, and how to see whether a
//! cluster left anything behind.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stasis_testbed::{Cluster, wait_until};

/// How long anything on an idle cluster may take.
pub const SOON: Duration = Duration::from_secs(40);

/// Whether this test can run. Without root it fails, unless `STASIS_ALLOW_SKIP=1` lets it be skipped.
pub fn can_run() -> bool {
    if fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap() == 0 {
        return true;
    }
    assert!(
        std::env::var_os("STASIS_ALLOW_SKIP").is_some_and(|value| value == "1"),
        "this test boots a cluster and needs root; STASIS_ALLOW_SKIP=1 lets it be skipped"
    );
    eprintln!("skipped: this test boots a cluster and needs root");
    false
}

/// A cluster name that only this run of this test uses.
pub fn name(test: &str) -> String {
    format!("t-{test}-{}", std::process::id())
}

/// What a cluster has in the kernel and on disk, by identity and not by name.
#[derive(Debug)]
pub struct Footprint {
    cluster: String,
    dir: PathBuf,
    processes: BTreeSet<(i32, String)>,
    namespaces: BTreeSet<PathBuf>,
    links: BTreeSet<PathBuf>,
}

impl Footprint {
    /// Taken of the cluster with this name and folder, however far its boot has come.
    pub fn take(cluster: &str, dir: &Path) -> Self {
        let pids: Vec<i32> = cgroups(cluster).iter().flat_map(|cgroup| pids_in(cgroup)).collect();
        let host = namespaces("self");
        Self {
            cluster: cluster.to_owned(),
            dir: dir.to_owned(),
            processes: pids.iter().filter_map(|pid| Some((*pid, start_time(*pid)?))).collect(),
            namespaces: pids
                .iter()
                .flat_map(|pid| namespaces(&pid.to_string()))
                .filter(|ns| !host.contains(ns))
                .collect(),
            links: links(),
        }
    }

    /// Whether it looks as a running cluster of three nodes must: guards the checks below against seeing nothing
    /// because they look in the wrong place.
    pub fn assert_substantial(&self) {
        assert!(self.processes.len() >= 12, "few processes: {:?}", self.processes);
        assert!(self.namespaces.len() >= 3 * 6 + 2, "few namespaces: {:?}", self.namespaces);
        assert!(!self.links.is_empty() && !cgroups(&self.cluster).is_empty() && self.dir.exists());
    }

    /// Asserts that nothing of it is left.
    pub fn assert_gone(&self) {
        let alive = |(pid, started): &&(i32, String)| start_time(*pid).as_ref() == Some(started);
        let left: Vec<_> = self.processes.iter().filter(alive).collect();
        assert!(left.is_empty(), "processes left: {left:?}");
        let left: Vec<_> =
            namespaces_outside_of_others(&self.cluster).intersection(&self.namespaces).cloned().collect();
        assert!(left.is_empty(), "namespaces left: {left:?}");
        assert_eq!(cgroups(&self.cluster), Vec::<PathBuf>::new(), "cgroups left");
        assert!(!self.dir.exists(), "{} left", self.dir.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.to_str().unwrap();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(dir)).collect();
        assert!(left.is_empty(), "mounts left: {left:?}");
    }

    /// The testbed's links on the host when it was taken: of this cluster, and of others.
    pub fn links(&self) -> &BTreeSet<PathBuf> {
        &self.links
    }
}

/// The testbed's links on the host.
pub fn links() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/sys/class/net").unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("stb-")).collect()
}

/// The cgroups of a cluster, in each hierarchy.
fn cgroups(cluster: &str) -> Vec<PathBuf> {
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    hierarchies.extend(fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()));
    let clusters = hierarchies.iter().filter_map(|dir| fs::read_dir(dir.join("stasis-testbed")).ok());
    let paths = clusters.flatten().flatten().map(|entry| entry.path());
    let ours =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{cluster}-"));
    paths.filter(ours).collect()
}

fn pids_in(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for child in fs::read_dir(cgroup).into_iter().flatten().flatten().filter(|child| child.path().is_dir()) {
        pids.extend(pids_in(&child.path()));
    }
    pids
}

/// When a process began: with its pid, what tells it from any other. A zombie is none: it only waits for the
/// machine's init to collect it.
fn start_time(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|&time| time.to_owned()))?
}

fn namespaces(pid: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// The namespaces of all processes but those of other clusters: the kernel gives a number again once it is free.
fn namespaces_outside_of_others(cluster: &str) -> BTreeSet<PathBuf> {
    let ours = format!("/stasis-testbed/{cluster}-");
    let of_others = |pid: &String| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        cgroups.contains("/stasis-testbed/") && !cgroups.contains(&ours)
    };
    let entries =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let pids = entries.filter(|name| name.parse::<i32>().is_ok()).filter(|pid| !of_others(pid));
    pids.flat_map(|pid| namespaces(&pid)).collect()
}

/// Waits for a text in a job's output.
pub fn wait_output(cluster: &Cluster, job: stasis_testbed::JobId, text: &str) {
    wait_until(&format!("{text:?} in the output of job {job}"), SOON, || {
        Ok(cluster.job_output(job)?.contains(text))
    })
    .unwrap();
}
