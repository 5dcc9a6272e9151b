//! A site without `send_user_signal`: Slurm gives a batch job no notice of its preemption, so the shepherd has to
//! find out for itself, soon enough to use the grace time.

use std::process::ExitCode;

use stasis_contract::{Step, Trigger};
use stasis_testbed::Job;
use stasis_tests::scripts::{COUNTER, assert_counts, ticks};
use stasis_tests::{Pair, SOON, Suite};

const GRACE_S: u32 = 40;
/// Slurm keeps its times in whole seconds.
const ROUNDING_MS: u64 = 1000;

fn main() -> ExitCode {
    Suite::new("silent")
        .cluster(|spec| {
            spec.send_user_signal = false;
            spec.grace_time_s = GRACE_S;
        })
        .test("a_preemption_is_noticed_within_a_quarter_of_the_grace_time", noticed)
        .test("doctor_says_what_to_set", doctor)
        .run()
}

fn noticed(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 30 ", SOON);
    let node = pair.wait_running(job);
    let high = pair.preempt(&node);
    let preempted = |job: &Job| job.field("PreemptTime").is_some_and(|time| time != "None");
    let seen = pair.cluster.wait_job(job, "preempted", SOON, preempted).unwrap();
    let at = seen.field("PreemptTime").unwrap();
    let at_ms = pair.shell("ctl", "root", &format!("date -d {at} +%s000")).trim().parse::<u64>().unwrap();
    let trigger = pair.wait_step(job, Step::Trigger, SOON);
    assert_eq!(trigger.trigger, Some(Trigger::Preemption));
    let late_ms = trigger.at_unix_ms.saturating_sub(at_ms);
    assert!(late_ms <= u64::from(GRACE_S) * 1000 / 4 + ROUNDING_MS, "noticed after {late_ms} ms");
    let there = pair.wait_restored(job, 1);
    assert_eq!(there, pair.other(&node));
    pair.wait_counting(job);
    assert_counts(&ticks(&pair.output(job)));
    assert_eq!(pair.cluster.job_state(high).unwrap(), "RUNNING");
}

fn doctor(pair: &Pair<'_>) {
    let said = pair.cluster.exec(&pair.nodes()[0], "root", &["stasis", "doctor"]).unwrap().stdout;
    let notice = said.find(" notice ").unwrap_or_else(|| panic!("doctor looks at it: {said}"));
    assert!(said[notice..].contains("PreemptParameters=send_user_signal"), "{said}");
}
