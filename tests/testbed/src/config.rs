//! The configuration files of a cluster: `slurm.conf` and the few beside it.
//!
//! Two partitions over the same nodes make preemption happen: a job in `high` preempts one in `low`.
//! Scheduling is told to look every two seconds, so that suites wait for the plugin and not for Slurm.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::spec::ClusterSpec;

/// How long slurmctld lets a node be silent before it calls it down: short, since suites pull cables.
const SLURMD_TIMEOUT_S: u32 = 20;

/// `slurm.conf`, in which each line of `spec.slurm_conf` takes the place of the default line with the same key.
/// `NodeName=`, `PartitionName=` and their like are told apart by their value too.
pub fn slurm_conf(spec: &ClusterSpec) -> String {
    let mut lines = defaults(spec);
    let mut extra = Vec::new();
    for line in spec.slurm_conf.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        // Slurm would take the last of two lines, but also complain on every client's standard error.
        match lines.iter_mut().find(|default| key(default) == key(line)) {
            Some(default) => line.clone_into(default),
            None => extra.push(line.to_owned()),
        }
    }
    lines.extend(extra);
    lines.join("\n") + "\n"
}

fn defaults(spec: &ClusterSpec) -> Vec<String> {
    let nodes = if spec.nodes == 1 { "n1".to_owned() } else { format!("n[1-{}]", spec.nodes) };
    let (cpus, memory_mb) = (spec.cpus, spec.memory_mb);
    let mut lines: Vec<String> = FIXED.lines().map(str::to_owned).collect();
    lines.push(format!("ClusterName={}", spec.name));
    lines.push(format!("SlurmdTimeout={SLURMD_TIMEOUT_S}"));
    lines.push(format!("DefMemPerCPU={}", memory_mb / u64::from(cpus)));
    if spec.send_user_signal {
        lines.push("PreemptParameters=send_user_signal".to_owned());
    }
    lines.push(format!("NodeName={nodes} CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN"));
    lines.push(format!(
        "PartitionName=low Nodes={nodes} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 \
         PreemptMode=REQUEUE GraceTime={}",
        spec.grace_time_s
    ));
    lines.push(format!(
        "PartitionName=high Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF"
    ));
    lines
}

const FIXED: &str = "\
SlurmctldHost=ctl
AuthType=auth/munge
CredType=cred/munge
SlurmUser=slurm
MpiDefault=none
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup,task/affinity
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/var/spool/slurmd
StateSaveLocation=/var/spool/slurmctld
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=10
SlurmctldDebug=debug
SlurmdDebug=debug
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log";

/// What makes two lines be about the same thing: `partitionname=low`, `killwait`.
fn key(line: &str) -> String {
    let first = line.split_whitespace().next().unwrap_or_default().to_lowercase();
    let name = first.split('=').next().unwrap_or_default();
    if matches!(name, "nodename" | "partitionname" | "nodeset" | "downnodes") {
        first
    } else {
        name.to_owned()
    }
}

/// `cgroup.conf` for the machine's cgroup version. Cores are not constrained: a node may claim more CPUs than
/// the machine has.
pub fn cgroup_conf(v2: bool) -> String {
    let plugin = if v2 { "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes" } else { "CgroupPlugin=cgroup/v1" };
    format!(
        "{plugin}\nCgroupMountpoint=/sys/fs/cgroup\nConstrainCores=no\nConstrainDevices=no\n\
         ConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"
    )
}

/// `plugstack.conf`.
pub fn plugstack_conf(spec: &ClusterSpec) -> String {
    let lines: Vec<&str> = spec.plugstack.iter().map(String::as_str).collect();
    lines.join("\n") + "\n"
}

/// `/etc/hosts` of every node.
pub fn hosts(nodes: &[(String, Ipv4Addr)]) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (name, ip) in nodes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{ip} {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_lines_replace_the_defaults_of_the_same_key() {
        let slurm_conf_lines = ["KillWait=3", "PartitionName=low Nodes=n1 GraceTime=5", "MaxJobCount=9"];
        let spec = ClusterSpec {
            slurm_conf: slurm_conf_lines.map(str::to_owned).to_vec(),
            ..ClusterSpec::default()
        };
        let text = slurm_conf(&spec);
        assert!(text.contains("KillWait=3\n") && !text.contains("KillWait=10"));
        assert_eq!(text.matches("PartitionName=low").count(), 1);
        assert_eq!(text.matches("PartitionName=high").count(), 1);
        assert!(text.ends_with("MaxJobCount=9\n"));
    }

    #[test]
    fn the_user_signal_can_be_left_out() {
        let with = slurm_conf(&ClusterSpec::default());
        let without = slurm_conf(&ClusterSpec { send_user_signal: false, ..ClusterSpec::default() });
        assert!(with.contains("send_user_signal") && !without.contains("PreemptParameters"));
    }
}
