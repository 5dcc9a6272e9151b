//! Parts that fail in the middle of the walk: a store that is full or read-only, a CRIU that dies, a shepherd that
//! is killed. Half an image is never taken for a whole one, and the job ends or is requeued as plain Slurm would
//! have it.
//!
//! A shepherd is killed by strace's fault injection as it enters a system call, so each step of the walk is hit for
//! certain and not by luck. CRIU is run by a wrapper that kills it when it comes to one of its own steps.

use std::path::Path;
use std::process::{Child, ExitCode};

use stasis_contract::{Event, Step};
use stasis_testbed::{JobId, wait_until};
use stasis_tests::scripts::{COUNTER, assert_counts, ticks};
use stasis_tests::{MOVE, Pair, SOON, Suite};

const CRIU: &str = "/usr/local/sbin/criu-or-not";
const ACTION: &str = "/usr/local/sbin/criu-action-or-not";
/// In a node: the verb and the step at which CRIU dies there: at once (`start`), at a moment that it tells its action
/// script of, or at a system call (`NAME:COUNT`).
const FAULT: &str = "/etc/criu-fault";

/// With real and effective ids that differ, as in a dump, bash keeps the effective ones only with -p.
const WRAPPER: &str = "#!/bin/bash -p
read -r verb step </etc/criu-fault 2>/dev/null || exec /usr/sbin/criu \"$@\"
[ \"$verb\" = \"$1\" ] || exec /usr/sbin/criu \"$@\"
[ \"$step\" != start ] || kill -9 $$
case $step in *:*)
    exec strace -qq -o /dev/null -e \"trace=${step%:*}\" -e \"inject=${step%:*}:signal=KILL:when=${step#*:}\" /usr/sbin/criu \"$@\" ;;
esac
export FAULT_STEP=$step FAULT_PID=$$
words=()
while [ $# -gt 0 ]; do
    words+=(\"$1\")
    if [ \"$1\" = --action-script ]; then export FAULT_ACTION=$2; words+=(/usr/local/sbin/criu-action-or-not); shift; fi
    shift
done
exec /usr/sbin/criu \"${words[@]}\"
";
const ACTION_WRAPPER: &str = "#!/bin/bash -p
if [ \"$CRTOOLS_SCRIPT_ACTION\" = \"$FAULT_STEP\" ]; then kill -9 $FAULT_PID; exit 1; fi
exec \"$FAULT_ACTION\"
";

fn main() -> ExitCode {
    Suite::new("faults")
        .pairs(3)
        .cluster(|spec| spec.grace_time_s = 20)
        .configuration(&format!("criu={CRIU}"))
        .test("the_shepherd_is_killed_before_the_dump", |pair| shepherd_killed(pair, "mkdir", 1, 1))
        .test("the_shepherd_is_killed_when_the_image_is_begun", |pair| shepherd_killed(pair, "mkdirat", 1, 1))
        .test("the_shepherd_is_killed_when_criu_has_dumped", |pair| shepherd_killed(pair, "accept4", 1, 1))
        .test("the_shepherd_is_killed_while_it_packs", |pair| shepherd_killed(pair, "fsync", 1, 1))
        .test("the_shepherd_is_killed_before_the_manifest", |pair| shepherd_killed(pair, "renameat", 1, 1))
        .test("the_shepherd_is_killed_before_the_commit", |pair| shepherd_killed(pair, "renameat", 2, 1))
        .test("the_shepherd_is_killed_after_the_commit", |pair| shepherd_killed(pair, "unlinkat", 1, 2))
        .test("the_shepherd_is_killed_outside_of_a_preemption", shepherd_killed_idle)
        .test("the_shepherd_is_killed_during_the_restore", shepherd_killed_in_restore)
        .test("criu_dies_before_it_dumps", |pair| criu_dies(pair, "start", true))
        .test("criu_dies_while_it_seizes_the_tasks", |pair| criu_dies(pair, "ptrace:6", false))
        .test("criu_dies_inside_of_a_task", |pair| criu_dies(pair, "ptrace:60", false))
        .test("criu_dies_after_it_has_dumped", |pair| criu_dies(pair, "post-dump", true))
        .test("criu_dies_when_it_restores", |pair| restore_fails(pair, "start"))
        .test("criu_dies_with_the_session_half_back", |pair| restore_fails(pair, "post-restore"))
        .test("a_full_store", |pair| {
            bad_store(pair, "mount -t tmpfs -o size=128k,mode=1777 none", "the store is full");
        })
        .test("a_read_only_store", |pair| {
            bad_store(pair, "mount -t tmpfs -o ro,mode=1777 none", "the store is read-only");
        })
        .run()
}

/// Puts the wrappers into the pair's nodes, with no fault set.
fn prepare(pair: &Pair<'_>) {
    for name in pair.nodes() {
        let node = pair.node(&name);
        node.write_file(Path::new(ACTION), 0o755, ACTION_WRAPPER.as_bytes()).unwrap();
        node.write_file(Path::new(CRIU), 0o755, WRAPPER.as_bytes()).unwrap();
        set_fault(pair, &name, "");
    }
}

fn set_fault(pair: &Pair<'_>, node: &str, fault: &str) {
    pair.node(node).write_file(Path::new(FAULT), 0o644, format!("{fault}\n").as_bytes()).unwrap();
}

/// A counter with image 1, and the node where it runs.
#[track_caller]
fn with_image(pair: &Pair<'_>) -> (JobId, String) {
    prepare(pair);
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 30 ", SOON);
    pair.run("ctl", "alice", &["scancel", "--batch", "--signal=40", &job.to_string()]);
    pair.wait_step(job, Step::Commit, SOON);
    pair.wait_counting(job);
    (job, pair.wait_running(job))
}

/// Kills the shepherd on a node when it enters this system call for the `when`th time.
#[track_caller]
fn kill_shepherd_at(pair: &Pair<'_>, node: &str, call: &str, when: u32) -> Child {
    let pid = shepherd(pair, node);
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={when}"));
    let argv = ["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &pid];
    let strace = pair.cluster.spawn(node, "root", &argv).unwrap();
    wait_until("strace to attach", SOON, || {
        let status = pair.node(node).read_file(Path::new(&format!("/proc/{pid}/status")))?;
        Ok(!status.contains("TracerPid:\t0\n"))
    })
    .unwrap();
    strace
}

#[track_caller]
fn shepherd(pair: &Pair<'_>, node: &str) -> String {
    let pid = pair.shell(node, "root", "pgrep -f '[s]tasis-shepherd run'").trim().to_owned();
    assert!(pid.parse::<u32>().is_ok(), "one shepherd on {node}: {pid:?}");
    pid
}

/// Lets a job that was requeued start, without Slurm's wait of two minutes.
#[track_caller]
fn start_now(pair: &Pair<'_>, job: JobId) {
    wait_until("the job to start again", MOVE, || {
        let now = pair.cluster.job(job)?;
        if now.state() == "PENDING" {
            let argv = ["scontrol", "update", &format!("JobId={job}"), "StartTime=now"];
            pair.cluster.exec("ctl", "alice", &argv)?;
        }
        Ok(now.state() == "RUNNING" && now.restarts() > 0)
    })
    .unwrap();
}

/// Where the counter went back to an image: from then on it must count on from a number that it had reached, or the
/// next; and before and after it must count without fail.
#[track_caller]
fn assert_goes_on(pair: &Pair<'_>, job: JobId) {
    pair.wait_counting(job);
    let output = pair.output(job);
    assert_eq!(output.matches("began restarts=").count(), 1, "the script ran once: {output}");
    let ticks = ticks(&output);
    let back = ticks.windows(2).position(|two| two[1] <= two[0]).map_or(ticks.len(), |at| at + 1);
    let (before, after) = ticks.split_at(back);
    assert_counts(before);
    if let Some(&first) = after.first() {
        assert_counts(&(1..first).chain(after.iter().copied()).collect::<Vec<_>>());
    }
}

/// Whatever ran there of the job is gone, and so are its folders.
#[track_caller]
fn assert_clean(pair: &Pair<'_>, node: &str, job: JobId) {
    let left = format!(
        "pgrep -f '[c]apsule-init|[p]asta .*/job-{job}/'; ls -d /run/stasis/job-{job} 2>/dev/null; true"
    );
    let mut seen = String::new();
    let gone = wait_until("the node to be clean", SOON, || {
        seen = pair.cluster.exec(node, "root", &["bash", "-c", &left])?.stdout;
        Ok(seen.is_empty())
    });
    assert!(gone.is_ok(), "left on {node}: {seen}");
}

#[track_caller]
fn restored(pair: &Pair<'_>, job: JobId, runs: u32) -> Event {
    pair.wait_event(job, "a restore", MOVE, |event| {
        event.step == Step::Restore && event.restart_count >= runs
    })
}

/// In the grace time of a preemption; the session comes back from the image that is whole.
#[track_caller]
fn shepherd_killed(pair: &Pair<'_>, call: &str, when: u32, image: u32) {
    let (job, node) = with_image(pair);
    let pid = shepherd(pair, &node);
    let mut strace = kill_shepherd_at(pair, &node, call, when);
    let high = pair.preempt(&node);
    let requeued =
        pair.cluster.wait_job(job, "requeued", SOON, |job| job.state() == "PENDING" || job.restarts() > 0);
    requeued.unwrap();
    let _ = strace.wait();
    let died = pair.shell(&node, "root", "cat /var/log/slurm/slurmd.log");
    assert!(died.contains(&format!("task 0 ({pid}) exited. Killed by signal 9")), "the walk came to {call}");
    pair.cluster.wait_job_state(high, "RUNNING", SOON).unwrap();
    start_now(pair, job);
    assert_eq!(restored(pair, job, 1).image, Some(image));
    assert_goes_on(pair, job);
    assert_clean(pair, &node, job);
}

/// As a batch script that is killed.
fn shepherd_killed_idle(pair: &Pair<'_>) {
    let (job, node) = with_image(pair);
    let pid = shepherd(pair, &node);
    pair.shell(&node, "root", &format!("kill -9 {pid}"));
    let ended = pair.wait_ended(job, SOON);
    assert_eq!((ended.state(), ended.field("ExitCode")), ("FAILED", Some("0:9")));
    assert_clean(pair, &node, job);
}

/// On the second node, once CRIU is about to bring the session back.
fn shepherd_killed_in_restore(pair: &Pair<'_>) {
    let (job, node) = with_image(pair);
    let there = pair.other(&node);
    // A CRIU that waits for ever.
    let stuck = "#!/bin/bash -p\n[ \"$1\" != restore ] || { touch /run/criu-waits; sleep 1000; }\nexec /usr/sbin/criu \"$@\"\n";
    pair.node(&there).write_file(Path::new(CRIU), 0o755, stuck.as_bytes()).unwrap();
    pair.shell(&there, "root", "rm -f /run/criu-waits");
    let high = pair.preempt(&node);
    wait_until("CRIU to be run", MOVE, || {
        Ok(pair.cluster.exec(&there, "root", &["test", "-e", "/run/criu-waits"])?.success())
    })
    .unwrap();
    let pid = shepherd(pair, &there);
    prepare(pair);
    pair.shell(&there, "root", &format!("kill -9 {pid}"));
    let ended = pair.wait_ended(job, SOON);
    assert_eq!((ended.state(), ended.field("ExitCode")), ("FAILED", Some("0:9")));
    assert_clean(pair, &there, job);
    // The image is still good: the job's owner requeues it.
    pair.cancel(high);
    pair.run("ctl", "alice", &["scontrol", "requeue", &job.to_string()]);
    start_now(pair, job);
    assert_eq!(restored(pair, job, 2).image, Some(2));
    assert_goes_on(pair, job);
}

/// The session goes on (for certain if CRIU had not its hands on the tasks: `unharmed`) until Slurm takes the node at
/// the end of the grace time and requeues the job; then the image from before brings it back.
#[track_caller]
fn criu_dies(pair: &Pair<'_>, step: &str, unharmed: bool) {
    let (job, node) = with_image(pair);
    set_fault(pair, &node, &format!("dump {step}"));
    let high = pair.preempt(&node);
    let failure = pair.wait_event(job, "a failure", SOON, |event| event.step == Step::Failure);
    assert!(failure.message.unwrap_or_default().contains("CRIU"), "it says what failed");
    assert_eq!(pair.images(job).len(), 1, "no second image");
    if unharmed {
        pair.wait_counting(job);
    }
    pair.cluster
        .wait_job(job, "off its node", MOVE, |job| job.state() == "PENDING" || job.restarts() > 0)
        .unwrap();
    pair.cluster.wait_job_state(high, "RUNNING", SOON).unwrap();
    start_now(pair, job);
    assert_eq!(restored(pair, job, 1).image, Some(1));
    assert_goes_on(pair, job);
    assert_clean(pair, &node, job);
}

/// On the node where it is to come back: another node, here the first, must get the session.
#[track_caller]
fn restore_fails(pair: &Pair<'_>, step: &str) {
    let (job, node) = with_image(pair);
    let there = pair.other(&node);
    set_fault(pair, &there, &format!("restore {step}"));
    let high = pair.preempt(&node);
    let failure = pair.wait_event(job, "a failure", MOVE, |event| event.step == Step::Failure);
    assert_eq!((failure.node, failure.image), (there.clone(), Some(2)));
    pair.cancel(high);
    start_now(pair, job);
    let restore = restored(pair, job, 2);
    assert_eq!((restore.node, restore.image), (node, Some(2)), "the image is good, and so is this node");
    assert_goes_on(pair, job);
    assert_clean(pair, &there, job);
}

/// No image comes to be, the session goes on for as long as plain Slurm lets it, and starts anew.
#[track_caller]
fn bad_store(pair: &Pair<'_>, mount: &str, says: &str) {
    prepare(pair);
    let store = format!("/shared/stasis/bad-{}", pair.nodes()[0]);
    let unmount = format!("mountpoint -q {store} && umount -l {store}; true");
    for node in pair.nodes() {
        pair.shell(&node, "root", &format!("{unmount}; mkdir -p {store}; {mount} {store}"));
    }
    let option = format!("--stasis=store={store}");
    let job = pair.submit("alice", &[&option], COUNTER);
    pair.wait_output(job, "tick 30 ", SOON);
    let node = pair.wait_running(job);
    pair.preempt(&node);
    let output = pair.wait_output(job, "no checkpoint was taken", SOON);
    assert!(output.contains(says), "{says:?} is not in {output}");
    pair.wait_counting(job);
    let images = pair.shell(&node, "root", &format!("find {store} -name '00*'"));
    assert_eq!(images, "", "nothing that could be taken for an image");
    start_now(pair, job);
    let output = pair.wait_output(job, "began restarts=1", MOVE);
    assert!(output.contains("the session starts anew from its script"), "{output}");
    for node in pair.nodes() {
        pair.shell(&node, "root", &unmount);
    }
}
