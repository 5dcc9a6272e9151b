//! What slurmctld knows. Looking at the store must work without it, so it is asked through this file alone, which
//! says why there is no answer instead of ending the process as libslurm does where it finds no slurm.conf.

use crate::error::{CliError, Result};
use slurm_sys::{Job, JobState, Slurm};
use std::path::{Path, PathBuf};

/// Where libslurm looks for its configuration without being told.
const CONFIGURATIONS: [&str; 4] = [
    "/etc/slurm/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/usr/local/etc/slurm.conf",
];

/// Connects to the site's Slurm.
///
/// # Errors
/// When this machine has no configuration of Slurm's.
pub fn open() -> Result<Slurm> {
    let named = std::env::var_os("SLURM_CONF").map(PathBuf::from);
    let served = std::env::var_os("SLURM_CONF_SERVER").is_some();
    match named {
        Some(path) if !path.exists() => {
            Err(CliError::NoSlurm(format!("SLURM_CONF names {}, which does not exist", path.display())))
        }
        None if !served && !CONFIGURATIONS.iter().any(|path| Path::new(path).exists()) => {
            Err(CliError::NoSlurm("this machine has no slurm.conf".into()))
        }
        _ => Ok(Slurm::open()),
    }
}

/// Whether a job has ended for good, as far as slurmctld knows.
pub fn is_over(job: &Job) -> bool {
    job.state == JobState::Ended && !job.completing
}

/// A job's state in one word. A held job is pending to Slurm, but unlike others it waits for a person.
pub fn state_word(job: &Job) -> &'static str {
    if job.held { "HELD" } else { job.state_name }
}

/// Where a job runs, if it does.
pub fn node(job: &Job) -> Option<&str> {
    let placed = matches!(job.state, JobState::Running | JobState::Suspended) || job.completing;
    (placed && !job.nodes.is_empty()).then_some(job.nodes.as_str())
}
