//! A site that gives preempted jobs no grace time: there is no moment in which a session could be saved, so
//! everything must be as plain Slurm has it.

use std::process::ExitCode;

use stasis_contract::Step;
use stasis_tests::scripts::{COUNTER, assert_counts, ticks};
use stasis_tests::{MOVE, Pair, SOON, Suite};

fn main() -> ExitCode {
    Suite::new("no-grace")
        .cluster(|spec| spec.grace_time_s = 0)
        .test("preemption_without_grace_is_as_plain_slurm_has_it", as_plain)
        .test("an_image_from_before_saves_what_it_can", image_from_before)
        .run()
}

fn as_plain(pair: &Pair<'_>) {
    let seen = [&["--requeue", "--open-mode=append"][..], &["--stasis"]].map(|args| {
        let job = pair.submit("alice", args, COUNTER);
        pair.wait_output(job, "tick 30 ", SOON);
        let node = pair.wait_running(job);
        let high = pair.preempt(&node);
        let pending = pair.cluster.wait_job_state(job, "PENDING", SOON).unwrap();
        pair.cluster.wait_job_state(high, "RUNNING", SOON).unwrap();
        let field = |name| pending.field(name).map(str::to_owned);
        let fields = ["Reason", "Restarts", "ExitCode", "Requeue"].map(field);
        pair.start_now(job);
        let output = pair.wait_output(job, "began restarts=1", MOVE);
        pair.wait_counting(job);
        pair.cancel(high);
        pair.cancel(job);
        let said = output.lines().filter(|line| line.contains("DUE TO PREEMPTION")).count();
        (fields, said, job)
    });
    let [(plain, plain_said, _), (stasis, said, job)] = seen;
    assert_eq!((stasis, said), (plain, plain_said), "Stasis on the left");
    assert!(
        !pair.events(job).iter().any(|event| event.step == Step::Commit),
        "there was no time for an image"
    );
    assert!(pair.output(job).contains("the session starts anew from its script"));
}

fn image_from_before(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 30 ", SOON);
    pair.run("ctl", "alice", &["scancel", "--batch", "--signal=40", &job.to_string()]);
    pair.wait_step(job, Step::Freeze, SOON);
    pair.wait_counting(job);
    let node = pair.wait_running(job);
    pair.preempt(&node);
    pair.cluster.wait_job_state(job, "PENDING", SOON).unwrap();
    pair.start_now(job);
    pair.wait_restored(job, 1);
    pair.wait_output(job, "stasis: restored", SOON);
    pair.wait_counting(job);
    let ticks = ticks(&pair.output(job));
    let back = ticks.windows(2).position(|two| two[1] <= two[0]).expect("it went back to the checkpoint");
    assert_counts(&ticks[..=back]);
}
