//! The cgroups of a cluster: what its nodes' Slurm uses, and how the testbed knows what belongs to it.
//!
//! Every process of a cluster is born in the cluster's cgroup and cannot leave it: its nodes see nothing above
//! their own cgroup. So the kernel itself keeps the list of what `down` must end, whatever became of the
//! program that booted the cluster, and no pid file can be stale or name a stranger.
//!
//! Layout, in every hierarchy: `stasis-testbed/CLUSTER/NODE`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Result};
use crate::wait::wait_until;

const TOP: &str = "stasis-testbed";
/// The leaf of a node's cgroup for processes that are not a job's, where only leaves may hold some (version 2).
const LEAF: &str = "init";
/// The cgroup member, beside the nodes, that the cluster's chassis lives in.
pub(crate) const CHASSIS: &str = "chassis";
/// How many pid namespaces below the host's the chassis is; nodes are one deeper.
pub(crate) const CHASSIS_DEPTH: usize = 1;

/// How long what waits for an init may take to end by itself, before it is killed too.
const INIT_TIMEOUT: Duration = Duration::from_secs(2);
const CREATE_TIMEOUT: Duration = Duration::from_secs(2);
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// One mounted cgroup hierarchy of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// Where it is mounted.
    mount: PathBuf,
    /// `cgroup` (version 1) or `cgroup2`.
    fstype: String,
    /// The mount options that select it (version 1).
    options: String,
}

impl Hierarchy {
    /// Reads a line of mountinfo, if it is of a cgroup hierarchy below `/sys/fs/cgroup`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mount = PathBuf::from(before.split(' ').nth(4)?);
        let mut after = after.split(' ');
        let fstype = after.next()?;
        if !matches!(fstype, "cgroup" | "cgroup2") || !mount.starts_with("/sys/fs/cgroup") {
            return None;
        }
        let options = after.nth(1)?.split(',').filter(|option| !matches!(*option, "rw" | "xattr"));
        let mut options: Vec<&str> = options.collect();
        if options.iter().any(|option| option.starts_with("name=")) {
            options.insert(0, "none");
        }
        let options = if fstype == "cgroup" { options.join(",") } else { String::new() };
        Some(Self { mount, fstype: fstype.to_owned(), options })
    }

    /// Whether this is version 2 with nothing beside it, where processes may live in leaves only.
    fn is_whole_tree(&self) -> bool {
        self.mount == Path::new("/sys/fs/cgroup")
    }
}

/// A cluster's cgroups.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    cluster: String,
}

impl Cgroups {
    /// The cgroups of the cluster with this id; nothing is made yet.
    pub(crate) fn of(cluster: &str) -> Result<Self> {
        let path = "/proc/self/mountinfo";
        let mounts = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let hierarchies: Vec<_> = mounts.lines().filter_map(Hierarchy::parse).collect();
        if hierarchies.is_empty() {
            return Err(Error::NoCgroups);
        }
        Ok(Self { hierarchies, cluster: cluster.to_owned() })
    }

    /// Whether the machine has version 2 only.
    pub(crate) fn is_v2(&self) -> bool {
        self.hierarchies.iter().any(Hierarchy::is_whole_tree)
    }

    /// Makes the cgroups of one member (a node, or the chassis).
    pub(crate) fn create(&self, member: &str) -> Result<()> {
        // Tried again, since the last other cluster's `down` may just now be removing the level we share.
        wait_until(&format!("the cgroups of {member}"), CREATE_TIMEOUT, || {
            self.hierarchies.iter().try_for_each(|hierarchy| self.create_in(hierarchy, member))?;
            Ok(true)
        })
    }

    fn create_in(&self, hierarchy: &Hierarchy, member: &str) -> Result<()> {
        let mut path = hierarchy.mount.clone();
        for name in [TOP, &self.cluster, member] {
            let parent = path.clone();
            path.push(name);
            make(hierarchy, &parent, &path)?;
        }
        if hierarchy.is_whole_tree() {
            // What enters the node later: see the node's script.
            let leaf = path.join(LEAF);
            fs::create_dir_all(&leaf).map_err(Error::io("make", &leaf))?;
        }
        Ok(())
    }

    /// The folders a process writes itself to in order to be part of a member before its init runs, one a line.
    pub(crate) fn join_at_birth(&self, member: &str) -> String {
        self.join(member, "")
    }

    /// The same for a process that enters a member which runs.
    pub(crate) fn join_running(&self, member: &str) -> String {
        self.join(member, if self.is_v2() { LEAF } else { "" })
    }

    fn join(&self, member: &str, leaf: &str) -> String {
        let lines: Vec<_> =
            self.paths(Some(member)).map(|dir| dir.join(leaf).display().to_string()).collect();
        lines.join("\n")
    }

    /// What a node mounts below its `/sys/fs/cgroup`, as lines `name|fstype|options`.
    pub(crate) fn mounts(&self) -> String {
        let line = |hierarchy: &Hierarchy| {
            let name = match hierarchy.mount.file_name() {
                Some(name) if !hierarchy.is_whole_tree() => name.to_string_lossy().into_owned(),
                _ => ".".to_owned(),
            };
            format!("{name}|{}|{}", hierarchy.fstype, hierarchy.options)
        };
        self.hierarchies.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The processes of a member, or of the whole cluster.
    pub(crate) fn processes(&self, member: Option<&str>) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        self.paths(member).for_each(|path| collect_pids(&path, &mut pids));
        pids
    }

    /// The init of a member: pid 1 of the pid namespace `depth` levels below ours.
    pub(crate) fn init_of(&self, member: &str, depth: usize) -> Option<i32> {
        let ours = namespace_pids(std::process::id() as i32)?.len();
        self.processes(Some(member)).into_iter().find(|&pid| {
            namespace_pids(pid).is_some_and(|pids| pids.len() == ours + depth && pids.last() == Some(&1))
        })
    }

    /// Ends every process of a member, or of the whole cluster, and removes the cgroups. The outermost process
    /// may stay a moment as a zombie, which holds nothing, until the machine's init collects it.
    pub(crate) fn end(&self, member: Option<&str>) -> Result<()> {
        let whose = member.unwrap_or("the cluster");
        let init = member.map_or_else(
            || self.init_of(CHASSIS, CHASSIS_DEPTH),
            |member| self.init_of(member, CHASSIS_DEPTH + 1),
        );
        if let Some(init) = init {
            // All that is in its pid namespace dies with it, and those that wait for it outside collect it and
            // end. Killed together with it they would leave a zombie that keeps the namespace for a while.
            self.kill(init)?;
            let _ = wait_until("", INIT_TIMEOUT, || Ok(self.processes(member).is_empty()));
        }
        wait_until(&format!("the processes and cgroups of {whose} to go"), END_TIMEOUT, || {
            for pid in self.processes(member) {
                self.kill(pid)?;
            }
            self.paths(member).try_for_each(|path| remove_tree(&path))?;
            Ok(true)
        })?;
        if member.is_none() {
            // Shared with other clusters, so only the last one can remove it.
            self.hierarchies.iter().for_each(|hierarchy| drop(fs::remove_dir(hierarchy.mount.join(TOP))));
        }
        Ok(())
    }

    /// The cgroups that there are of the cluster, for reports.
    pub(crate) fn existing(&self) -> Vec<PathBuf> {
        self.paths(None).filter(|path| path.exists()).collect()
    }

    fn paths<'a>(&'a self, member: Option<&'a str>) -> impl Iterator<Item = PathBuf> + 'a {
        self.hierarchies.iter().map(move |hierarchy| {
            let cluster = hierarchy.mount.join(TOP).join(&self.cluster);
            member.map_or(cluster.clone(), |member| cluster.join(member))
        })
    }

    /// Kills one process through a descriptor that was checked to be of this cluster: the pid that a cgroup
    /// listed a moment ago may by now be somebody else's.
    fn kill(&self, pid: i32) -> Result<()> {
        let Some(handle) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return Ok(());
        };
        let ours = format!(":/{TOP}/{}/", self.cluster);
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if !cgroups.lines().any(|line| line.contains(&ours)) {
            return Ok(());
        }
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::sys(format!("kill process {pid}"))(error)),
        }
    }
}

/// Makes one cgroup and whatever its version needs for processes to be put there.
fn make(hierarchy: &Hierarchy, parent: &Path, path: &Path) -> Result<()> {
    if let Err(error) = fs::create_dir(path)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::io("make", path)(error));
    }
    if hierarchy.is_whole_tree() {
        let file = parent.join("cgroup.controllers");
        let controllers = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        for controller in controllers.split_whitespace() {
            // Some cannot be handed down (rt tasks, missing hardware); Slurm says what it misses.
            drop(fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}")));
        }
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // A version 1 cpuset begins empty, and no process can be put into an empty one.
        let (from, to) = (parent.join(file), path.join(file));
        if hierarchy.fstype == "cgroup" && from.exists() {
            let value = fs::read_to_string(&from).map_err(Error::io("read", &from))?;
            fs::write(&to, value.trim()).map_err(Error::io("write", &to))?;
        }
    }
    Ok(())
}

fn collect_pids(cgroup: &Path, pids: &mut BTreeSet<i32>) {
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for child in children(cgroup) {
        collect_pids(&child, pids);
    }
}

fn remove_tree(cgroup: &Path) -> Result<()> {
    children(cgroup).iter().try_for_each(|child| remove_tree(child))?;
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", cgroup)(error)),
        _ => Ok(()),
    }
}

fn children(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A process's pid in each pid namespace from ours inwards.
fn namespace_pids(pid: i32) -> Option<Vec<i32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_versions_from_mountinfo() {
        let memory = "35 34 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let parsed = Hierarchy::parse(memory).unwrap();
        assert_eq!((parsed.fstype.as_str(), parsed.options.as_str()), ("cgroup", "memory"));
        assert!(!parsed.is_whole_tree());

        let named = "36 34 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        assert_eq!(Hierarchy::parse(named).unwrap().options, "none,name=systemd");

        let whole = "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert!(Hierarchy::parse(whole).unwrap().is_whole_tree());

        assert_eq!(Hierarchy::parse("22 20 0:20 / /proc rw - proc proc rw"), None);
    }
}
