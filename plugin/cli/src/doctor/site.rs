//! What the site needs: a Slurm that preempts by requeueing, with notice and with time to act.

use super::slurm_facts::{Mode, PartitionFacts, SlurmFacts};
use super::{Finding, Findings};
use stasis_contract::{CostModel, SiteConfig, format_bytes};

/// A grace time that saves little.
const GRACE_SHORT_S: u32 = 15;
/// With less, slurmctld forgets jobs before the epilog is over.
const MIN_JOB_AGE_S: u32 = 10;
/// How often a session may be preempted before it is held; the default is 5.
const REQUEUES_ENOUGH: u32 = 1000;

/// Judges the site. `facts` is what slurmctld says, or why it says nothing.
pub fn judge(facts: Result<&SlurmFacts, &String>, config: Option<&SiteConfig>) -> Vec<Finding> {
    let mut out = Findings::of("site");
    let slurm = match facts {
        Ok(slurm) => slurm,
        Err(error) => {
            out.fail(
                "slurmctld",
                error,
                "make `scontrol ping` work here; SLURM_CONF names another slurm.conf",
            );
            return out.list;
        }
    };
    out.ok("slurmctld", format!("cluster {}, Slurm {}", slurm.cluster, slurm.version));
    preemption(&mut out, slurm);
    notice(&mut out, slurm, config);
    grace(&mut out, slurm);
    requeue(&mut out, slurm);
    processes(&mut out, slurm);
    memory_of_jobs(&mut out, slurm);
    out.list
}

/// Partitions whose jobs can be preempted, with what happens to these.
fn preemptible(slurm: &SlurmFacts) -> Vec<&PartitionFacts> {
    let tier_max = slurm.partitions.iter().map(|partition| partition.priority_tier).max().unwrap_or(0);
    // By QOS, any partition's jobs may be; by partition, those below the highest tier.
    let by_tier = slurm.preempt_type == "preempt/partition_prio";
    let preempted = slurm.partitions.iter().filter(|partition| partition.mode != Mode::Off);
    preempted.filter(|partition| !by_tier || partition.priority_tier < tier_max).collect()
}

fn preemption(out: &mut Findings, slurm: &SlurmFacts) {
    let set = "in slurm.conf set PreemptType=preempt/partition_prio (or preempt/qos) and PreemptMode=REQUEUE";
    if slurm.preempt_type.is_empty() || slurm.preempt_type == "preempt/none" {
        return out.warn("preemption", "jobs are never preempted here: sessions are saved on request, at intervals and before their time limit", set);
    }
    let partitions = preemptible(slurm);
    for partition in &partitions {
        let name = &partition.name;
        match partition.mode {
            Mode::Cancel => out.warn(
                "preemption",
                format!("a preempted job of partition {name} is cancelled: its session is saved and does not come back by itself"),
                format!("set PreemptMode=REQUEUE for partition {name}"),
            ),
            Mode::Suspend => out.warn(
                "preemption",
                format!("a preempted job of partition {name} is suspended in place, and cannot move"),
                format!("set PreemptMode=REQUEUE for partition {name}"),
            ),
            Mode::Requeue | Mode::Off => {}
        }
    }
    let requeued: Vec<&str> = partitions
        .iter()
        .filter(|partition| partition.mode == Mode::Requeue)
        .map(|partition| partition.name.as_str())
        .collect();
    if requeued.is_empty() {
        out.warn(
            "preemption",
            format!("{}, but no partition's jobs are requeued by it", slurm.preempt_type),
            set,
        );
    } else {
        out.ok("preemption", format!("{}, requeues jobs of {}", slurm.preempt_type, requeued.join(", ")));
    }
}

fn notice(out: &mut Findings, slurm: &SlurmFacts, config: Option<&SiteConfig>) {
    let words: Vec<&str> = slurm.preempt_parameters.split(',').map(str::trim).collect();
    if words.contains(&"send_user_signal") {
        return out.ok("notice", "PreemptParameters has send_user_signal: sessions are told at once");
    }
    if preemptible(slurm).is_empty() {
        return out.skip("notice", "jobs are never preempted here");
    }
    let all = if slurm.preempt_parameters.is_empty() {
        String::new()
    } else {
        format!("{},", slurm.preempt_parameters)
    };
    let grace_s = config.map_or(60, |config| config.grace_s);
    out.warn(
        "notice",
        "PreemptParameters lacks send_user_signal: sessions learn of a preemption by asking slurmctld now and then, \
         up to a quarter of the grace time late",
        format!(
            "in slurm.conf set PreemptParameters={all}send_user_signal, then `scontrol reconfigure`; sbatch --stasis asks \
             for the signal (--signal=B:USR1@{grace_s}) by itself"
        ),
    );
}

fn grace(out: &mut Findings, slurm: &SlurmFacts) {
    let cost = CostModel::default();
    for partition in preemptible(slurm) {
        let (name, grace_s) = (&partition.name, partition.grace_s);
        let remedy =
            format!("set GraceTime=60 for partition {name} in slurm.conf (with preempt/qos: for the QOS)");
        let room = (f64::from(grace_s) - cost.dump_fixed_s).max(0.0) * cost.dump_bytes_per_s;
        let message = format!("partition {name} has GraceTime={grace_s}");
        match grace_s {
            0 => out.warn(
                "grace time",
                format!("{message}: its preempted jobs are killed at once, and return with their last image by request or interval"),
                remedy,
            ),
            1..GRACE_SHORT_S => out.warn(
                "grace time",
                format!("{message}: enough for about {} of memory", format_bytes(room as u64)),
                remedy,
            ),
            _ => out.ok("grace time", format!("{message}: enough for about {} of memory", format_bytes(room as u64))),
        }
    }
}

fn requeue(out: &mut Findings, slurm: &SlurmFacts) {
    if slurm.requeues_max < REQUEUES_ENOUGH {
        let max = slurm.requeues_max;
        out.warn(
            "requeues",
            format!(
                "MaxBatchRequeue={max}: Slurm counts a requeue after a preemption, too, and holds a job at the {max}th; \
                 Stasis releases sessions that it has saved, as root on their node"
            ),
            format!(
                "set MaxBatchRequeue={REQUEUES_ENOUGH} in slurm.conf; `scontrol release JOB` frees one that is held all the same"
            ),
        );
    } else {
        out.ok("requeues", format!("MaxBatchRequeue={}", slurm.requeues_max));
    }
    if slurm.job_requeue {
        out.ok("JobRequeue", "jobs are requeued unless they say otherwise");
    } else {
        out.ok("JobRequeue", "0, and sbatch --stasis asks for it (--requeue) by itself");
    }
    let delay =
        slurm.scheduler_parameters.split(',').find_map(|word| word.trim().strip_prefix("requeue_delay="));
    let words = match delay {
        Some(delay) => format!("requeue_delay={delay}; sessions have theirs lifted once they are pending"),
        None => {
            "a requeued job waits for two minutes; sessions have that lifted once they are pending".into()
        }
    };
    out.ok("requeue delay", words);
}

fn processes(out: &mut Findings, slurm: &SlurmFacts) {
    if slurm.proctrack_type == "proctrack/cgroup" {
        out.ok("processes", "ProctrackType=proctrack/cgroup");
    } else {
        out.warn(
            "processes",
            format!(
                "ProctrackType={}: Slurm may lose sight of a session's processes, which leave their group",
                slurm.proctrack_type
            ),
            "set ProctrackType=proctrack/cgroup in slurm.conf (needs a restart of all daemons)",
        );
    }
    let confined = slurm.task_plugin.split(',').any(|plugin| plugin.trim() == "task/cgroup");
    let words = if confined {
        "with task/cgroup: a session's memory counts towards its job"
    } else {
        "without task/cgroup: a session's memory is not limited"
    };
    out.ok("limits", words);
    out.ok(
        "kill wait",
        format!("KillWait={} s between SIGTERM and SIGKILL, once the grace is over", slurm.kill_wait_s),
    );
}

fn memory_of_jobs(out: &mut Findings, slurm: &SlurmFacts) {
    let age_s = slurm.min_job_age_s;
    if age_s < MIN_JOB_AGE_S {
        out.warn(
            "MinJobAge",
            format!("MinJobAge={age_s}: slurmctld may forget a job that ended before its node has asked for its requeue"),
            "set MinJobAge=300 in slurm.conf, which is the default",
        );
    } else {
        out.ok("MinJobAge", format!("slurmctld remembers ended jobs for {age_s} s"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn finding(change: impl FnOnce(&mut SlurmFacts), check: &str) -> Finding {
        let mut facts = SlurmFacts::healthy();
        change(&mut facts);
        let findings = judge(Ok(&facts), Some(&SiteConfig::default()));
        for finding in &findings {
            let bad = matches!(finding.verdict, Verdict::Warn | Verdict::Fail);
            assert_eq!(bad, finding.remedy.is_some(), "{finding:?}");
        }
        let mut of_check = findings.into_iter().filter(|finding| finding.check == check);
        of_check.next().unwrap_or_else(|| panic!("no finding of {check}"))
    }

    fn warns(change: impl FnOnce(&mut SlurmFacts), check: &str, words: [&str; 2]) {
        let finding = finding(change, check);
        assert_eq!(finding.verdict, Verdict::Warn, "{finding:?}");
        assert!(finding.message.contains(words[0]), "{finding:?}");
        assert!(finding.remedy.as_deref().unwrap_or_default().contains(words[1]), "{finding:?}");
    }

    #[test]
    fn a_healthy_site_has_nothing_to_say() {
        let findings = judge(Ok(&SlurmFacts::healthy()), None);
        let odd: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
        assert!(odd.is_empty(), "{odd:#?}");
    }

    #[test]
    fn a_silent_slurmctld_is_one_failure() {
        let findings = judge(Err(&"Unable to contact slurm controller".into()), None);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].verdict, findings[0].check), (Verdict::Fail, "slurmctld"));
    }

    #[test]
    fn what_preemption_does_is_told() {
        warns(
            |f| f.preempt_type = "preempt/none".into(),
            "preemption",
            ["never preempted", "PreemptMode=REQUEUE"],
        );
        warns(
            |f| f.partitions[0].mode = Mode::Cancel,
            "preemption",
            ["partition low is cancelled", "REQUEUE"],
        );
        warns(|f| f.partitions[0].mode = Mode::Suspend, "preemption", ["suspended in place", "REQUEUE"]);
        warns(|f| f.partitions[0].mode = Mode::Off, "preemption", ["no partition's jobs", "REQUEUE"]);
        let by_qos = finding(
            |f| {
                f.preempt_type = "preempt/qos".into();
                f.partitions.iter_mut().for_each(|partition| partition.mode = Mode::Requeue);
            },
            "preemption",
        );
        assert!(by_qos.message.ends_with("low, high"), "{by_qos:?}");
    }

    #[test]
    fn a_missing_notice_names_what_to_set() {
        let without = |f: &mut SlurmFacts| f.preempt_parameters = "reorder_count=1".into();
        warns(without, "notice", ["send_user_signal", "PreemptParameters=reorder_count=1,send_user_signal"]);
        let never = finding(
            |f| {
                f.preempt_parameters.clear();
                f.partitions[0].mode = Mode::Off;
            },
            "notice",
        );
        assert_eq!(never.verdict, Verdict::Skip);
    }

    #[test]
    fn grace_is_needed_where_jobs_are_preempted_and_nowhere_else() {
        warns(
            |f| f.partitions[0].grace_s = 0,
            "grace time",
            ["killed at once", "GraceTime=60 for partition low"],
        );
        warns(|f| f.partitions[0].grace_s = 5, "grace time", ["enough for about", "GraceTime=60"]);
        let mut facts = SlurmFacts::healthy();
        facts.partitions[1].grace_s = 0;
        facts.partitions[1].mode = Mode::Requeue;
        let findings = judge(Ok(&facts), None);
        assert!(
            findings.iter().all(|finding| finding.verdict == Verdict::Ok),
            "the highest tier is not preempted"
        );
    }

    #[test]
    fn few_requeues_short_memory_and_loose_processes_are_told() {
        warns(|f| f.requeues_max = 5, "requeues", ["at the 5th", "MaxBatchRequeue=1000"]);
        warns(|f| f.min_job_age_s = 2, "MinJobAge", ["MinJobAge=2", "300"]);
        warns(
            |f| f.proctrack_type = "proctrack/linuxproc".into(),
            "processes",
            ["linuxproc", "proctrack/cgroup"],
        );
        let delay = finding(|f| f.scheduler_parameters = "a=1,requeue_delay=5".into(), "requeue delay");
        assert!(delay.message.starts_with("requeue_delay=5"), "{delay:?}");
    }
}
