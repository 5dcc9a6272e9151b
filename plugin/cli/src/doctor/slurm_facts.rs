//! What Slurm says of the site. Asked for in a process of its own: libslurm ends the one that it runs in where it
//! cannot read its configuration, and waits long for a slurmctld that is not there.

use super::probe;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use slurm_sys::{Partition, PreemptMode};
use std::time::Duration;

/// Longer than MessageTimeout with its retries on most sites.
const PATIENCE: Duration = Duration::from_secs(45);

/// What happens to a job that is preempted, as Slurm writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// It is not preempted.
    Off,
    /// It is suspended in place.
    Suspend,
    /// It is requeued.
    Requeue,
    /// It is cancelled.
    Cancel,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFacts {
    /// Its name.
    pub name: String,
    /// GraceTime in seconds.
    pub grace_s: u32,
    /// PriorityTier.
    pub priority_tier: u32,
    /// PreemptMode, the site's where the partition has none.
    pub mode: Mode,
}

/// The site's configuration, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlurmFacts {
    /// ClusterName.
    pub cluster: String,
    /// Version of slurmctld.
    pub version: String,
    /// PreemptType.
    pub preempt_type: String,
    /// PreemptParameters.
    pub preempt_parameters: String,
    /// SchedulerParameters.
    pub scheduler_parameters: String,
    /// SlurmdParameters.
    pub slurmd_parameters: String,
    /// ProctrackType.
    pub proctrack_type: String,
    /// TaskPlugin.
    pub task_plugin: String,
    /// PluginDir.
    pub plugin_dir: String,
    /// PlugStackConfig, empty where it is beside slurm.conf.
    pub plugstack: String,
    /// JobRequeue.
    pub job_requeue: bool,
    /// KillWait in seconds.
    pub kill_wait_s: u32,
    /// MinJobAge in seconds.
    pub min_job_age_s: u32,
    /// MaxBatchRequeue.
    pub requeues_max: u32,
    /// The partitions.
    pub partitions: Vec<PartitionFacts>,
}

/// Asks slurmctld, in this process.
///
/// # Errors
/// When it does not answer.
pub fn gather() -> Result<SlurmFacts> {
    let slurm = crate::slurm::open()?;
    let site = slurm.site()?;
    let partitions = slurm.partitions()?;
    Ok(SlurmFacts {
        partitions: partitions.into_iter().map(|partition| of(partition, site.preempt_mode)).collect(),
        cluster: site.cluster,
        version: site.version,
        preempt_type: site.preempt_type,
        preempt_parameters: site.preempt_parameters,
        scheduler_parameters: site.scheduler_parameters,
        slurmd_parameters: site.slurmd_parameters,
        proctrack_type: site.proctrack_type,
        task_plugin: site.task_plugin,
        plugin_dir: site.plugin_dir,
        plugstack: site.plugstack,
        job_requeue: site.job_requeue,
        kill_wait_s: site.kill_wait_s,
        min_job_age_s: site.min_job_age_s,
        requeues_max: site.requeues_max,
    })
}

fn of(partition: Partition, default: PreemptMode) -> PartitionFacts {
    let mode = match partition.preempt_mode.unwrap_or(default) {
        PreemptMode::Off => Mode::Off,
        PreemptMode::Suspend => Mode::Suspend,
        PreemptMode::Requeue => Mode::Requeue,
        PreemptMode::Cancel => Mode::Cancel,
    };
    let Partition { name, grace_s, priority_tier, .. } = partition;
    PartitionFacts { name, grace_s, priority_tier, mode }
}

/// Asks slurmctld, in a process of its own, and says why there is no answer.
///
/// # Errors
/// The last line of what that process complained of.
pub fn gather_apart() -> std::result::Result<SlurmFacts, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let run = probe::run(&program, &["slurm-facts"], PATIENCE)?;
    if !run.success {
        let line = run.errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        return Err(line.trim_start_matches("stasis: ").trim().to_owned());
    }
    serde_json::from_str(&run.output).map_err(|error| format!("its answer cannot be read: {error}"))
}

#[cfg(test)]
impl SlurmFacts {
    /// A site where everything is as it should be.
    pub fn healthy() -> Self {
        let partition = |name: &str, priority_tier, mode| PartitionFacts {
            name: name.into(),
            grace_s: 60,
            priority_tier,
            mode,
        };
        Self {
            cluster: "cli".into(),
            version: "24.11.5".into(),
            preempt_type: "preempt/partition_prio".into(),
            preempt_parameters: "send_user_signal".into(),
            scheduler_parameters: "bf_interval=2".into(),
            slurmd_parameters: String::new(),
            proctrack_type: "proctrack/cgroup".into(),
            task_plugin: "task/cgroup,task/affinity".into(),
            plugin_dir: "/usr/lib/slurm".into(),
            plugstack: String::new(),
            job_requeue: true,
            kill_wait_s: 30,
            min_job_age_s: 300,
            requeues_max: 1000,
            partitions: vec![partition("low", 1, Mode::Requeue), partition("high", 10, Mode::Off)],
        }
    }
}
