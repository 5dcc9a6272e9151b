//! The walk of a checkpoint, from end to end, with sessions that are plain shell scripts: preempted, saved,
//! requeued, brought back on the other node.

use std::process::ExitCode;

use stasis_contract::{Event, Step, Trigger};
use stasis_testbed::JobId;
use stasis_tests::scripts::{COUNTER, assert_counts, ticks};
use stasis_tests::{MOVE, Pair, SOON, Suite};

fn main() -> ExitCode {
    Suite::new("walk")
        .test("a_preempted_session_comes_back_on_the_other_node", comes_back)
        .test("the_output_file_is_whole_and_in_order_after_six_moves", six_moves)
        .test("preemption_in_the_first_second_loses_nothing_that_counts", first_second)
        .test("both_streams_keep_their_own_files", two_files)
        .test("files_and_processes_survive", files_and_processes)
        .test("a_checkpoint_on_request_leaves_the_session_running", on_request)
        .test("the_command_line_checkpoints_lists_and_shows", command_line)
        .test("files_that_grew_since_the_image_do_not_keep_the_session_away", grown_files)
        .test("a_session_outlives_the_power_of_its_node", power_loss)
        .test("checkpoints_at_intervals_are_there_when_the_power_is_lost", intervals)
        .run()
}

const MOVES: usize = 6;

fn comes_back(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 20 ", SOON);
    let node = pair.wait_running(job);
    let high = pair.preempt(&node);
    let there = pair.wait_restored(job, 1);
    assert_eq!(there, pair.other(&node));
    pair.wait_counting(job);
    assert_eq!(pair.cluster.job_state(high).unwrap(), "RUNNING", "who preempted has the node");
    let steps: Vec<Step> = pair.events(job).iter().map(|event| event.step).collect();
    let walk =
        [Step::Start, Step::Trigger, Step::Pack, Step::Commit, Step::Requeue, Step::Verify, Step::Restore];
    let mut rest = steps.iter();
    assert!(walk.iter().all(|step| rest.any(|other| other == step)), "{steps:?} is not {walk:?}");
    assert!(pair.events(job).iter().filter_map(|event| event.trigger).all(|by| by == Trigger::Preemption));
}

/// slurmstepd appends lines of its own to the file while the session is away. Slurm gives up on a batch job after five
/// requeues, unless told otherwise (`MaxBatchRequeue`).
fn six_moves(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 20 ", SOON);
    for _ in 0..MOVES {
        pair.move_away(job);
        pair.wait_counting(job);
    }
    pair.cancel(job);
    let output = pair.output(job);
    assert_counts(&ticks(&output));
    assert_eq!(output.matches("began restarts=").count(), 1, "the script ran once");
    assert_eq!(output.matches("stasis: checkpointed as image").count(), MOVES, "{output}");
    assert_eq!(output.matches("stasis: restored on").count(), MOVES, "{output}");
    let foreign = |line: &&str| !line.starts_with("tick ") && !line.starts_with("began ");
    let foreign: Vec<&str> = output.lines().filter(foreign).collect();
    let known = |line: &&str| line.starts_with("stasis: ") || line.starts_with("slurmstepd-");
    assert!(foreign.iter().all(known), "whole lines, each of one writer: {foreign:#?}");
}

/// Too young to be saved when the signal comes: it is saved later in its grace time, or starts anew as plain Slurm
/// would have it.
fn first_second(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    let node = pair.wait_running(job);
    let high = pair.preempt(&node);
    pair.cluster.wait_job(job, "back", MOVE, |job| job.state() == "RUNNING" && job.restarts() == 1).unwrap();
    assert_eq!(pair.cluster.job_state(high).unwrap(), "RUNNING");
    pair.wait_output(job, "stasis: ", SOON);
    pair.wait_counting(job);
    let output = pair.output(job);
    let began = output.rfind("began restarts=").expect("it ran");
    assert_counts(&ticks(&output[began..]));
    let restored = output.contains("stasis: restored on");
    assert_eq!(output.matches("began restarts=").count(), if restored { 1 } else { 2 }, "{output}");
}

fn two_files(pair: &Pair<'_>) {
    let script = "#!/bin/bash
for ((i = 1; i <= 100000; i++)); do echo \"tick $i of the counter\"; echo \"tick $i of the counter\" >&2; sleep 0.1; done
";
    let args = ["--stasis", "--output=two-%j.out", "--error=two-%j.err"];
    let job = pair.submit("alice", &args, script);
    pair.wait_output(job, "tick 20 ", SOON);
    pair.move_away(job);
    pair.wait_counting(job);
    pair.cancel(job);
    let error_file = pair.cluster.host_dir_home().join(format!("alice/two-{job}.err"));
    let (out, err) = (pair.output(job), std::fs::read_to_string(error_file).unwrap());
    assert_counts(&ticks(&out));
    assert_counts(&ticks(&err));
    assert!(!out.contains("stasis:") && err.contains("stasis: restored"), "messages go to standard error");
}

/// What a shell can show of it; the Jupyter suite shows the rest.
fn files_and_processes(pair: &Pair<'_>) {
    let script = r#"#!/bin/bash
echo private >/tmp/file; echo shared >/dev/shm/file; mkdir -p /tmp/a/b; ln -s ../file /tmp/a/link; chmod 640 /tmp/file
exec 7>/tmp/deleted; echo "in a deleted file" >&7; rm /tmp/deleted
echo "linked" >/tmp/a/first; ln /tmp/a/first /tmp/second; exec 9>>/tmp/a/first; rm /tmp/a/first
exec 8>>"$HOME/open-$SLURM_JOB_ID"; echo "before" >&8
setsid bash -c 'exec >/dev/null 2>&1 </dev/null; (exec -a daemon sleep 1000000) & disown; exit' &
python3 - "$HOME/socket-$SLURM_JOB_ID" <<'PY' &
import socket, sys, time
a, b = socket.socketpair()
listener = socket.socket(socket.AF_UNIX); listener.bind('/tmp/listener'); listener.listen()
a.sendall(b'queued before the move')
while not __import__('os').path.exists('/tmp/go'): time.sleep(0.05)
print('python:', b.recv(100).decode(), listener.getsockname(), flush=True)
PY
python=$!
# A session is saved from its third second on.
while [ $SECONDS -lt 4 ] || [ ! -S /tmp/listener ] || ! pgrep -f '^daemon' >/dev/null; do sleep 0.05; done
echo "ready on $(hostname) with $(pgrep -f '^daemon')"
until [ -e "$HOME/go-$SLURM_JOB_ID" ]; do sleep 0.05; done
touch /tmp/go; wait $python
echo "after" >&8; echo "on" >&9
echo "now with $(pgrep -f '^daemon')"
echo "tmp: $(cat /tmp/a/link) $(stat -c %a /tmp/file), shm: $(cat /dev/shm/file), deleted: $(cat /proc/$$/fd/7)"
echo "second: $(tr '\n' ' ' </tmp/second) in /tmp: $(ls /tmp/a | tr '\n' ' ')"
echo "open: $(tr '\n' ' ' <"$HOME/open-$SLURM_JOB_ID")"
echo "restarts=${SLURM_RESTART_COUNT:-0} finished"
"#;
    let job = pair.submit("alice", &["--stasis"], script);
    let output = pair.wait_output(job, "ready on", SOON);
    let daemon = output
        .lines()
        .find_map(|line| line.strip_prefix("ready on ")?.split(" with ").nth(1))
        .unwrap()
        .to_owned();
    pair.move_away(job);
    pair.shell("ctl", "alice", &format!("touch go-{job}"));
    let output = pair.wait_output(job, "finished", SOON);
    for line in [
        "python: queued before the move /tmp/listener",
        &format!("now with {daemon}"),
        "tmp: private 640, shm: shared, deleted: in a deleted file",
        "second: linked on  in /tmp: b link ",
        "open: before after ",
        "restarts=0 finished",
    ] {
        assert!(output.contains(line), "{line:?} is not in\n{output}");
    }
    assert_eq!(pair.wait_ended(job, SOON).field("ExitCode"), Some("0:0"));
    for path in ["/tmp/file", "/dev/shm/file", "/tmp/listener"] {
        let left = pair
            .nodes()
            .map(|node| pair.cluster.exec(&node, "root", &["test", "-e", path]).unwrap().success());
        assert_eq!(left, [false, false], "{path} is the session's own, and gone with it");
    }
}

fn on_request(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 20 ", SOON);
    request(pair, job);
    let commit = pair.wait_step(job, Step::Commit, SOON);
    assert_eq!(commit.trigger, Some(Trigger::Request));
    pair.wait_counting(job);
    let now = pair.cluster.job(job).unwrap();
    assert_eq!((now.state(), now.restarts()), ("RUNNING", 0));
    // It can be saved and moved as before.
    pair.move_away(job);
    pair.wait_counting(job);
    pair.cancel(job);
    assert_counts(&ticks(&pair.output(job)));
}

fn command_line(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 30 ", SOON);
    let id = job.to_string();
    pair.run("ctl", "alice", &["stasis", "checkpoint", &id]);
    assert_eq!(pair.images(job).len(), 1, "it waits until the image is there");
    pair.wait_counting(job);
    let listed = pair.run("ctl", "alice", &["stasis", "list"]).stdout;
    assert!(listed.lines().any(|line| line.split_whitespace().next() == Some(&id)), "{listed}");
    let shown = pair.run("ctl", "alice", &["stasis", "show", &id, "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown.to_string().contains("\"request\""), "{shown}");
    let foreign = pair.cluster.exec("ctl", "bob", &["stasis", "checkpoint", &id]).unwrap();
    assert!(!foreign.success(), "bob cannot: {}", foreign.stdout);
    assert_eq!(pair.images(job).len(), 1);
    pair.cancel(job);
    pair.run("ctl", "alice", &["stasis", "rm", &id, "--yes"]);
    assert_eq!(pair.images(job).len(), 0);
}

/// The image is of an earlier moment than the files on shared storage that the session has open, and others write to
/// them too: they are opened again as they are now.
fn grown_files(pair: &Pair<'_>) {
    let script = r#"#!/bin/bash
echo before >"$HOME/append-$SLURM_JOB_ID"
exec 5>"$HOME/write-$SLURM_JOB_ID" 6<>"$HOME/both-$SLURM_JOB_ID" 7>>"$HOME/append-$SLURM_JOB_ID"
echo "began restarts=${SLURM_RESTART_COUNT:-0}"
for ((i = 1; i <= 100000; i++)); do
    echo "tick $i of the counter"
    for fd in 5 6 7; do printf '%06d\n' $i >&$fd; done
    sleep 0.1
done
"#;
    let job = pair.submit("alice", &["--stasis"], script);
    pair.wait_output(job, "tick 30 ", SOON);
    request(pair, job);
    pair.wait_step(job, Step::Freeze, SOON);
    pair.wait_counting(job);
    pair.run("ctl", "alice", &["scontrol", "requeue", &job.to_string()]);
    pair.cluster.wait_job_state(job, "PENDING", SOON).unwrap();
    pair.shell("ctl", "alice", &format!("echo of another >>append-{job}"));
    pair.run("ctl", "alice", &["scontrol", "update", &format!("JobId={job}"), "StartTime=now"]);
    pair.wait_restored(job, 1);
    pair.wait_output(job, "stasis: restored on", SOON);
    pair.wait_counting(job);
    pair.cancel(job);
    let read = |name: &str| pair.shell("ctl", "alice", &format!("cat {name}-{job}"));
    // Written at its own place in the file, it is as if the time after the checkpoint had not been.
    for name in ["write", "both"] {
        let numbers: Vec<u32> = read(name).lines().map(|line| line.parse().unwrap()).collect();
        assert_counts(&numbers);
    }
    assert!(read("append").contains("of another\n"), "nobody's lines are lost");
}

fn power_loss(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    pair.wait_output(job, "tick 20 ", SOON);
    request(pair, job);
    pair.wait_step(job, Step::Freeze, SOON);
    pair.wait_counting(job);
    returns_after_power_loss(pair, job);
}

fn intervals(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis=interval=10s,keep=2"], COUNTER);
    let is_third = |event: &Event| event.step == Step::Freeze && event.image == Some(3);
    pair.wait_event(job, "a third checkpoint", MOVE, is_third);
    assert!(pair.events(job).iter().filter_map(|event| event.trigger).all(|by| by == Trigger::Interval));
    stasis_testbed::wait_until("the oldest image to go", SOON, || Ok(pair.images(job).len() == 2)).unwrap();
    pair.wait_counting(job);
    returns_after_power_loss(pair, job);
}

/// The node of a job that has an image goes down, and the session goes on from the image, elsewhere.
fn returns_after_power_loss(pair: &Pair<'_>, job: JobId) {
    let node = pair.wait_running(job);
    pair.node(&node).kill().unwrap();
    // Nobody on the dead node can spare the job Slurm's wait of two minutes, but its owner can.
    pair.cluster.wait_job_state(job, "PENDING", MOVE).unwrap();
    pair.start_now(job);
    let there = pair.wait_restored(job, 1);
    assert_eq!(there, pair.other(&node));
    pair.wait_output(job, "stasis: restored on", SOON);
    pair.wait_counting(job);
    pair.cancel(job);
    // What it did after the checkpoint happened in vain, and happens again: lines are doubled, none is missing.
    let output = pair.output(job);
    assert_eq!(output.matches("began restarts=").count(), 1);
    let ticks = ticks(&output);
    let back = ticks.windows(2).position(|two| two[1] <= two[0]).expect("it went back to the checkpoint");
    assert_counts(&ticks[..=back]);
    let again = &ticks[back + 1..];
    assert_counts(&(1..again[0]).chain(again.iter().copied()).collect::<Vec<_>>());
}

/// Asks for a checkpoint as `stasis checkpoint` does.
fn request(pair: &Pair<'_>, job: JobId) {
    pair.run("ctl", "alice", &["scancel", "--batch", "--signal=40", &job.to_string()]);
}
