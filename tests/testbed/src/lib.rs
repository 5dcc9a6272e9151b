//! A real Slurm cluster on one machine, in namespaces.
//!
//! What Stasis does depends on what slurmstepd, cgroups, preemption and requeueing really do, so its suites run
//! on a cluster and not on a double of one. A node here is a set of namespaces (mount, pid, network, UTS, IPC,
//! cgroup) over a Debian image, with munged, slurmd, a network cable and a disk of its own: it can lose power,
//! lose its network, and boot again. Several clusters live side by side.
//!
//! ```no_run
//! use std::time::Duration;
//! use stasis_testbed::{Cluster, ClusterSpec};
//!
//! # fn main() -> stasis_testbed::Result<()> {
//! let cluster = Cluster::up(ClusterSpec::named("example"))?;
//! let job = cluster.sbatch("alice", &["--mem=100"], "#!/bin/bash\nhostname\n")?;
//! cluster.wait_job_state(job, "COMPLETED", Duration::from_secs(30))?;
//! assert_eq!(cluster.job_output(job)?, "n1\n");
//! # Ok(())
//! # } // dropping the cluster takes it down
//! ```
//!
//! The modules, from the outside in: [`Cluster`] (up, down), [`Node`] (power, cable, commands), jobs, the
//! configuration files, the image, and at the bottom the kernel's side: cgroups and shell scripts for what
//! mount(8), ip(8), unshare(1) and nsenter(1) do best. Beside them stands what everything that runs on a cluster
//! shares: [`artifacts`], the programs under test, and [`jupyter`], a browser's side of a session.

mod apt;
pub mod artifacts;
mod cgroups;
mod cluster;
mod command;
pub mod config;
mod error;
pub mod image;
mod jobs;
pub mod jupyter;
mod network;
mod node;
mod spec;
mod state;
mod wait;

pub use cluster::{Cluster, NodeStatus, Status, down, down_abandoned};
pub use command::Output;
pub use error::{Error, Result};
pub use jobs::{Job, JobId};
pub use node::Node;
pub use spec::{ClusterSpec, InstallFile, NODES_MAX};
pub use state::STORE;
pub use wait::{wait_for, wait_until};

fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}
