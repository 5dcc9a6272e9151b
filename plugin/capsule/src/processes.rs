//! The processes in a capsule, and whether a checkpoint of them would be whole.

use crate::Capsule;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a session cannot be checkpointed. Each message names the process; the session goes on unharmed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A process runs under another uid, by a setuid program or because root entered the capsule.
    #[error("process {process} runs as uid {uid}, not as the job's user: end it and try again")]
    ForeignUid {
        /// Which process.
        process: String,
        /// Its uid.
        uid: u32,
    },
    /// A process is not a descendant of the session's root.
    #[error("process {0} entered the session from outside and would not be saved: end it and try again")]
    Stranger(String),
    /// io_uring has state in the kernel that cannot be read back.
    #[error(
        "process {0} uses io_uring, which cannot be checkpointed: turn it off there (UV_USE_IO_URING=0 for Node)"
    )]
    IoUring(String),
    /// A GPU or another device with state of its own.
    #[error(
        "process {process} holds the device {device}, whose state cannot be saved: close it and try again"
    )]
    Device {
        /// Which process.
        process: String,
        /// The device.
        device: String,
    },
    /// The session has no process to save.
    #[error("the session has ended")]
    Ended,
}

/// What is known of a session that can be checkpointed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// Pids inside the capsule, sorted.
    pub pids: Vec<i32>,
    /// Memory that is resident and not shared between the processes twice (proportional set size).
    pub resident_bytes: u64,
}

/// Signals the process with this pid inside the capsule, if there is one.
pub fn signal(capsule: &Capsule, inner_pid: i32, signal: i32) {
    let Some(pid) =
        list(capsule).into_values().find(|process| process.inner_pid == inner_pid).map(|found| found.pid)
    else {
        return;
    };
    // SAFETY: plain numbers. The process may have ended since it was listed; its pid is not given to another one
    // before all other pids have been.
    unsafe { libc::kill(pid, signal) };
}

#[derive(Debug)]
struct Process {
    folder: PathBuf,
    name: String,
    pid: i32,
    parent: i32,
    inner_pid: i32,
    uids: Vec<u32>,
}

impl Process {
    fn label(&self) -> String {
        format!("{} ({})", self.inner_pid, self.name)
    }
}

/// Looks at every process in the capsule.
///
/// # Errors
/// The first reason why a checkpoint would not be whole.
pub fn examine(capsule: &Capsule, root: i32, uid: u32) -> Result<SessionFacts, Refusal> {
    let processes = list(capsule);
    let session_root = processes.values().find(|process| process.inner_pid == root).ok_or(Refusal::Ended)?;
    for process in processes.values().filter(|process| process.inner_pid != 1) {
        if let Some(&uid) = process.uids.iter().find(|&&other| other != uid) {
            return Err(Refusal::ForeignUid { process: process.label(), uid });
        }
        if !descends(process, session_root.pid, &processes) {
            return Err(Refusal::Stranger(process.label()));
        }
        check_files(process)?;
    }
    let session = processes.values().filter(|process| process.inner_pid != 1);
    let mut pids: Vec<i32> = session.clone().map(|process| process.inner_pid).collect();
    pids.sort_unstable();
    Ok(SessionFacts { pids, resident_bytes: session.map(|process| resident_bytes(&process.folder)).sum() })
}

/// Every process whose pid namespace is the capsule's, by the node's pid.
fn list(capsule: &Capsule) -> BTreeMap<i32, Process> {
    let namespace = |folder: &Path| fs::metadata(folder.join("ns/pid")).map(|facts| facts.ino()).ok();
    let Some(own) = namespace(&PathBuf::from(format!("/proc/{}", capsule.init_pid()))) else {
        return BTreeMap::new();
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<i32>().ok()?, entry.path())));
    numbered
        .filter(|(_, folder)| namespace(folder) == Some(own))
        .filter_map(|(pid, folder)| Some((pid, read(pid, folder)?)))
        .collect()
}

/// Reads /proc/PID/status, proc_pid_status(5). `None` for a process that has just ended.
fn read(pid: i32, folder: PathBuf) -> Option<Process> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(Process {
        pid,
        name: field("Name:")?.to_owned(),
        parent: field("PPid:")?.parse().ok()?,
        inner_pid: field("NSpid:")?.split_whitespace().last()?.parse().ok()?,
        uids: field("Uid:")?.split_whitespace().filter_map(|uid| uid.parse().ok()).collect(),
        folder,
    })
}

fn descends(process: &Process, root: i32, all: &BTreeMap<i32, Process>) -> bool {
    let mut pid = process.pid;
    // A chain of parents is no longer than there are processes, even if one changes while it is read.
    for _ in 0..=all.len() {
        if pid == root {
            return true;
        }
        match all.get(&pid) {
            Some(process) => pid = process.parent,
            None => return false,
        }
    }
    false
}

fn check_files(process: &Process) -> Result<(), Refusal> {
    let descriptors = fs::read_dir(process.folder.join("fd")).into_iter().flatten().flatten();
    for target in descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()) {
        let target = target.to_string_lossy();
        if target == "anon_inode:[io_uring]" {
            return Err(Refusal::IoUring(process.label()));
        }
        refuse_device(process, &target)?;
    }
    let maps = fs::read_to_string(process.folder.join("maps")).unwrap_or_default();
    maps.lines()
        .filter_map(|line| line.find("/dev/").map(|at| &line[at..]))
        .try_for_each(|path| refuse_device(process, path))
}

fn refuse_device(process: &Process, path: &str) -> Result<(), Refusal> {
    const STATEFUL: [&str; 4] = ["/dev/nvidia", "/dev/dri/", "/dev/kfd", "/dev/infiniband/"];
    if STATEFUL.iter().any(|prefix| path.starts_with(prefix)) {
        return Err(Refusal::Device { process: process.label(), device: path.to_owned() });
    }
    Ok(())
}

fn resident_bytes(folder: &Path) -> u64 {
    let rollup = fs::read_to_string(folder.join("smaps_rollup")).unwrap_or_default();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    pss.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}
