//! What a cluster should be: the one thing a caller fills in before `up`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most compute nodes that fit a cluster's subnet with room to spare.
pub const NODES_MAX: usize = 200;

/// A file of the host to copy into every node before its daemons start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallFile {
    /// Where it is on the host.
    pub from: PathBuf,
    /// Where it goes in the nodes: an absolute path.
    pub to: PathBuf,
    /// Its mode there; `None` keeps the host file's.
    pub mode: Option<u32>,
}

impl FromStr for InstallFile {
    type Err = Error;

    /// Reads `HOSTPATH:NODEPATH[:MODE]`, the mode in octal.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::Parse { what: "HOSTPATH:NODEPATH[:MODE]", text: text.to_owned() };
        let mut parts = text.split(':');
        let from = parts.next().filter(|part| !part.is_empty()).ok_or_else(bad)?;
        let to = parts.next().filter(|part| part.starts_with('/')).ok_or_else(bad)?;
        let mode = match parts.next() {
            None => None,
            Some(mode) => {
                Some(u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(bad)?)
            }
        };
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { from: from.into(), to: to.into(), mode })
    }
}

/// What a cluster should be. Start from `ClusterSpec::default()` or [`ClusterSpec::named`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Its name; clusters with different names live side by side.
    pub name: String,
    /// How many compute nodes, beside the controller `ctl`: `n1`, `n2`, ...
    pub nodes: usize,
    /// How many CPUs each compute node claims; may be more than the machine has.
    pub cpus: u32,
    /// How much memory each compute node claims, in MiB.
    pub memory_mb: u64,
    /// `GraceTime` of the partition `low`, in seconds.
    pub grace_time_s: u32,
    /// Whether preemption sends the job its `--signal` (`PreemptParameters=send_user_signal`).
    pub send_user_signal: bool,
    /// Lines of `plugstack.conf`.
    pub plugstack: Vec<String>,
    /// Lines of `slurm.conf`; each replaces the default line with the same key (see [`crate::config`]).
    pub slurm_conf: Vec<String>,
    /// Files to copy into every node.
    pub install: Vec<InstallFile>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: "stasis".to_owned(),
            nodes: 2,
            cpus: 2,
            memory_mb: 8000,
            grace_time_s: 60,
            send_user_signal: true,
            plugstack: Vec::new(),
            slurm_conf: Vec::new(),
            install: Vec::new(),
        }
    }
}

impl ClusterSpec {
    /// The default cluster under another name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Refuses what could not be booted, before anything is made.
    pub(crate) fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return Err(Error::Spec(format!("a cluster has 1 to {NODES_MAX} nodes, not {}", self.nodes)));
        }
        if self.cpus == 0 || self.memory_mb < 64 {
            return Err(Error::Spec("a node needs at least 1 CPU and 64 MiB of memory".to_owned()));
        }
        for file in &self.install {
            if !file.from.is_file() {
                let from = file.from.display();
                return Err(Error::Spec(format!(
                    "couldn't install {from}: there is no such file on this machine"
                )));
            }
        }
        Ok(())
    }

    /// All nodes' names, the controller first.
    pub fn node_names(&self) -> Vec<String> {
        let compute = (1..=self.nodes).map(|number| format!("n{number}"));
        std::iter::once("ctl".to_owned()).chain(compute).collect()
    }
}

/// A name becomes part of folders and cgroups, so it is held to what fits both.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if name.is_empty() || name.len() > 40 || !plain || name.starts_with('-') {
        return Err(Error::Spec(format!(
            "cluster name {name:?}: take 1 to 40 letters, digits, '-' or '_', not beginning with '-'"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_file_reads_its_three_forms_and_refuses_the_rest() {
        let file: InstallFile = "/a/b.so:/usr/lib/b.so:0755".parse().unwrap();
        assert_eq!(file.mode, Some(0o755));
        assert_eq!("/a:/b".parse::<InstallFile>().unwrap().mode, None);
        for bad in ["/a", "/a:b", ":/b", "/a:/b:9", "/a:/b:77777", "/a:/b:755:x"] {
            assert!(bad.parse::<InstallFile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_are_no_folder_are_refused() {
        assert!(check_name("suite-7_a").is_ok());
        for bad in ["", "a/b", "..", "-x", "a b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
