//! However a session ends, Slurm must see what it would have seen without Stasis. So each ending is tried twice,
//! once with the option and once without, side by side, and the two jobs' records are compared.

use std::process::ExitCode;
use std::time::Duration;

use stasis_contract::{Step, Trigger};
use stasis_testbed::{Job, JobId};
use stasis_tests::scripts::{COUNTER, assert_counts, ticks};
use stasis_tests::{MOVE, Pair, SOON, Suite};

/// What Slurm knows of an ending.
const FIELDS: [&str; 5] = ["JobState", "Reason", "ExitCode", "Restarts", "DerivedExitCode"];
/// Slurm's shortest time limit is a minute, and it looks for what is over it every half.
const TIME_LIMIT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    Suite::new("endings")
        .pairs(3)
        .test("an_exit_status_passes", exit_status)
        .test("a_signal_that_kills_the_script_passes", killed)
        .test("scancel_passes", scancelled)
        .test("scancel_with_a_signal_reaches_the_script", signalled)
        .test("a_process_that_ignores_sigterm_is_killed_after_killwait", stubborn)
        .test("the_time_limit_passes_without_a_warning", time_limit)
        .test("a_session_is_saved_before_its_time_limit", saved_at_time_limit)
        .test("requeue_by_the_user_starts_anew_without_an_image", requeued)
        .test("what_the_script_leaves_running_ends_with_it", leftovers)
        .run()
}

fn fields(job: &Job) -> Vec<(&'static str, Option<String>)> {
    FIELDS.iter().map(|name| (*name, job.field(name).map(str::to_owned))).collect()
}

/// Runs the script with Stasis and without, lets `act` end them, and compares.
#[track_caller]
fn same(pair: &Pair<'_>, args: &[&str], script: &str, timeout: Duration, act: impl Fn(JobId)) -> [Job; 2] {
    let plain = pair.submit("alice", &[&["--requeue", "--open-mode=append"], args].concat(), script);
    let stasis = pair.submit("alice", &[&["--stasis"], args].concat(), script);
    for job in [plain, stasis] {
        act(job);
    }
    let [plain_end, stasis_end] = [plain, stasis].map(|job| pair.wait_ended(job, timeout));
    assert_eq!(fields(&stasis_end), fields(&plain_end), "Stasis on the left");
    let words = |job| pair.output(job).replace(&format!("{job}"), "JOB");
    let line =
        |text: String| text.lines().filter(|line| !line.contains("error:")).collect::<Vec<_>>().join("\n");
    assert_eq!(line(words(stasis)), line(words(plain)), "both print the same, Stasis on the left");
    [plain_end, stasis_end]
}

fn exit_status(pair: &Pair<'_>) {
    for code in ["0", "3", "255"] {
        let [job, _] = same(pair, &[], &format!("#!/bin/bash\necho out\nexit {code}\n"), SOON, |_| {});
        assert_eq!(job.field("ExitCode"), Some(format!("{code}:0").as_str()));
    }
}

fn killed(pair: &Pair<'_>) {
    for signal in ["SEGV", "KILL", "USR2"] {
        same(pair, &[], &format!("#!/bin/bash\necho out\nkill -{signal} $$\nsleep 60\n"), SOON, |_| {});
    }
}

fn scancelled(pair: &Pair<'_>) {
    let script = "#!/bin/bash\ntrap 'echo told; exit 9' TERM\necho began\nwhile :; do sleep 0.1; done\n";
    let [job, _] = same(pair, &[], script, SOON, |job| {
        pair.wait_output(job, "began", SOON);
        pair.cluster.cancel(job).unwrap();
    });
    assert_eq!(job.state(), "CANCELLED");
}

fn signalled(pair: &Pair<'_>) {
    let script = "#!/bin/bash
trap 'echo usr2' USR2; trap 'echo hup; exit 4' HUP; echo began; while :; do sleep 0.1; done\n";
    same(pair, &[], script, SOON, |job| {
        pair.wait_output(job, "began", SOON);
        pair.run("ctl", "alice", &["scancel", "--batch", "--signal=USR2", &job.to_string()]);
        pair.wait_output(job, "usr2", SOON);
        pair.run("ctl", "alice", &["scancel", "--batch", "--signal=HUP", &job.to_string()]);
    });
}

fn stubborn(pair: &Pair<'_>) {
    let script = "#!/bin/bash\ntrap '' TERM\necho began\nwhile :; do sleep 0.1; done\n";
    same(pair, &[], script, SOON, |job| {
        pair.wait_output(job, "began", SOON);
        pair.cluster.cancel(job).unwrap();
    });
}

/// A user who asks for no signal beforehand gets no checkpoint at the time limit.
fn time_limit(pair: &Pair<'_>) {
    let script = "#!/bin/bash\ntrap 'echo told; exit 9' TERM\necho began\nwhile :; do sleep 0.1; done\n";
    let [job, _] = same(pair, &["--time=1", "--signal=B:USR1@0"], script, TIME_LIMIT, |_| {});
    assert_eq!(job.state(), "TIMEOUT");
}

fn saved_at_time_limit(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis=grace=30", "--time=1"], COUNTER);
    let commit = pair.wait_step(job, Step::Commit, TIME_LIMIT);
    assert_eq!(commit.trigger, Some(Trigger::TimeLimit));
    pair.wait_restored(job, 1);
    pair.wait_counting(job);
    pair.cancel(job);
    let output = pair.output(job);
    assert_counts(&ticks(&output));
    assert_eq!(output.matches("began").count(), 1);
}

fn requeued(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 20 ", SOON);
    pair.run("ctl", "alice", &["scontrol", "requeue", &job.to_string()]);
    pair.cluster.wait_job_state(job, "PENDING", SOON).unwrap();
    pair.start_now(job);
    let output = pair.wait_output(job, "began restarts=1", MOVE);
    assert!(output.contains("the session starts anew from its script"), "it says so: {output}");
}

fn leftovers(pair: &Pair<'_>) {
    let script = "#!/bin/bash\nsetsid -f sleep 4242\necho out\n";
    same(pair, &[], script, SOON, |_| {});
    for node in pair.nodes() {
        let left = pair.shell(&node, "root", "pgrep -f '^sleep 4242' || true");
        assert_eq!(left, "", "on {node}");
    }
}
