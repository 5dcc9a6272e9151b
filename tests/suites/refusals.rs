//! Sessions of which an image would not be whole: the checkpoint is refused with the process named, the session
//! goes on unharmed, and can be saved once what was in the way is gone.

use std::process::ExitCode;

use stasis_contract::Step;
use stasis_testbed::JobId;
use stasis_tests::scripts::{assert_counts, ticks};
use stasis_tests::{Pair, SOON, Suite};

fn main() -> ExitCode {
    Suite::new("refusals")
        .test("a_process_of_another_user", another_user)
        .test("a_process_that_came_from_outside", stranger)
        .test("a_process_that_uses_io_uring", io_uring)
        .test("a_process_that_holds_a_gpu", gpu)
        .test("a_process_that_has_mapped_a_gpu", mapped_gpu)
        .run()
}

/// Counts, and beside it runs what a line of shell says for as long as a file is there.
fn script(beside: &str) -> String {
    format!(
        "#!/bin/bash
touch \"$HOME/stay-$SLURM_JOB_ID\"
{beside} &
for ((i = 1; i <= 100000; i++)); do echo \"tick $i of the counter\"; sleep 0.1; done
"
    )
}

/// Python that does something and then waits until the file has gone.
fn python(code: &str) -> String {
    format!(
        "python3 -c '
import ctypes, mmap, os, time
{code}
open(os.path.expanduser(\"~/in-the-way-\" + os.environ[\"SLURM_JOB_ID\"]), \"w\")
while os.path.exists(os.path.expanduser(\"~/stay-\" + os.environ[\"SLURM_JOB_ID\"])): time.sleep(0.05)'"
    )
}

#[track_caller]
fn request(pair: &Pair<'_>, job: JobId) {
    pair.run("ctl", "alice", &["scancel", "--batch", "--signal=40", &job.to_string()]);
}

/// Expects a refusal that says all of this, and a session that goes on.
#[track_caller]
fn refused(pair: &Pair<'_>, job: JobId, says: &[&str]) {
    request(pair, job);
    let refusal = pair.wait_step(job, Step::Refused, SOON);
    let message = refusal.message.unwrap_or_default();
    for word in says {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    let output = pair.wait_output(job, "no checkpoint was taken", SOON);
    assert!(output.contains(&message), "the user is told the same: {output}");
    pair.wait_counting(job);
    assert_eq!(pair.images(job).len(), 0, "no image");
    assert_eq!(pair.cluster.job_state(job).unwrap(), "RUNNING");
}

/// Expects that the session can be saved, now that nothing is in the way, and moves as any other.
#[track_caller]
fn saved(pair: &Pair<'_>, job: JobId) {
    pair.move_away(job);
    pair.wait_counting(job);
    assert_counts(&ticks(&pair.output(job)));
}

/// The pid on the node of the init of a job's capsule.
fn capsule(pair: &Pair<'_>, node: &str, job: JobId) -> String {
    let find = format!("pgrep -f '[c]apsule-init .*/job0*{job}[/\"]' | head -n 1");
    let pid = pair.shell(node, "root", &find).trim().to_owned();
    assert!(!pid.is_empty(), "the capsule of job {job} on {node}");
    pid
}

/// As when root looks into the session with nsenter.
fn another_user(pair: &Pair<'_>) {
    entered(pair, &["--setuid", "0"], &["sleep", "uid 0"]);
}

fn stranger(pair: &Pair<'_>) {
    entered(pair, &["--setuid", "2001", "--setgid", "2001"], &["sleep", "from outside"]);
}

#[track_caller]
fn entered(pair: &Pair<'_>, identity: &[&str], says: &[&str]) {
    let job = pair.submit("alice", &["--stasis"], &script("true"));
    pair.wait_output(job, "tick 20 ", SOON);
    let node = pair.wait_running(job);
    let target = capsule(pair, &node, job);
    let enter = ["nsenter", "--target", &target, "--pid", "--mount"];
    // A pid from inside, so that the message can be held against it.
    let argv = [&enter[..], identity, &["bash", "-c", "echo $$; exec sleep 600"]].concat();
    let mut guest = pair.cluster.spawn(&node, "root", &argv).unwrap();
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(guest.stdout.take().unwrap()), &mut pid)
        .unwrap();
    refused(pair, job, &[says, &[&format!("process {} (", pid.trim())]].concat());
    pair.shell(&node, "root", &format!("nsenter --target {target} --pid --mount kill -9 {pid}"));
    guest.wait().unwrap();
    saved(pair, job);
}

/// Starts a session with something in the way, expects the refusal, takes it away, and expects the save.
#[track_caller]
fn in_the_way(pair: &Pair<'_>, code: &str, says: &[&str]) {
    let job = pair.submit("alice", &["--stasis"], &script(&python(code)));
    pair.wait_output(job, "tick 30 ", SOON);
    let mark = pair.cluster.host_dir_home().join(format!("alice/in-the-way-{job}"));
    stasis_testbed::wait_until("it to be in the way", SOON, || Ok(mark.exists())).unwrap();
    refused(pair, job, says);
    pair.shell("ctl", "alice", &format!("rm stay-{job}"));
    let node = pair.wait_running(job);
    let target = capsule(pair, &node, job);
    let gone = format!("! nsenter --target {target} --pid --mount pgrep python3");
    stasis_testbed::wait_until("it to be gone", SOON, || {
        Ok(pair.cluster.exec(&node, "root", &["bash", "-c", &gone])?.success())
    })
    .unwrap();
    saved(pair, job);
}

fn io_uring(pair: &Pair<'_>) {
    // io_uring_setup(2) with eight entries and all of io_uring_params zero.
    let code = "ring = ctypes.CDLL(None, use_errno=True).syscall(425, 8, ctypes.create_string_buffer(120))
assert ring >= 0, os.strerror(ctypes.get_errno())";
    in_the_way(pair, code, &["python3", "io_uring"]);
}

/// A device that is named like a GPU, and is /dev/zero.
fn make_gpu(pair: &Pair<'_>) {
    for node in pair.nodes() {
        pair.shell(&node, "root", "[ -e /dev/nvidia0 ] || mknod -m 666 /dev/nvidia0 c 1 5");
    }
}

fn gpu(pair: &Pair<'_>) {
    make_gpu(pair);
    in_the_way(pair, "gpu = os.open(\"/dev/nvidia0\", os.O_RDWR)", &["python3", "/dev/nvidia0"]);
}

fn mapped_gpu(pair: &Pair<'_>) {
    make_gpu(pair);
    let code = "gpu = os.open(\"/dev/nvidia0\", os.O_RDWR)
memory = mmap.mmap(gpu, 4096, mmap.MAP_PRIVATE); os.close(gpu)";
    in_the_way(pair, code, &["python3", "/dev/nvidia0"]);
}
