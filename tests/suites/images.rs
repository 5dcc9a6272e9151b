//! Images that cannot be trusted: whatever was done to one, the session never comes back from it, its user is
//! told why, and the next older image is tried before the script starts anew.
//!
//! Users own their images, so each case is done with the rights of the user where these suffice.

use std::path::Path;
use std::process::ExitCode;

use stasis_contract::{Event, Step};
use stasis_testbed::JobId;
use stasis_tests::scripts::{COUNTER, assert_counts, ticks};
use stasis_tests::{MOVE, Pair, SOON, Suite};

fn main() -> ExitCode {
    Suite::new("images")
        .test("a_bad_image_gives_way_to_an_older_one", older_one)
        .test("without_a_good_image_the_session_starts_anew_and_says_why", anew)
        .test("an_image_of_somebody_or_something_else_is_refused", foreign)
        .test("an_image_made_with_another_key_is_refused", other_key)
        .run()
}

/// Something done to the images of a job, in the job's folder.
struct Case {
    /// As whom.
    user: &'static str,
    /// The line of shell that does it; `$image` is the newest image, `$pages` a file of its memory.
    line: String,
    /// What the job's output must say of the newest image.
    says: &'static [&'static str],
}

fn by_user(line: &str, says: &'static [&'static str]) -> Case {
    Case { user: "alice", line: line.to_owned(), says }
}

fn by_root(line: &str, says: &'static [&'static str]) -> Case {
    Case { user: "root", line: line.to_owned(), says }
}

const EDITED: &[&str] = &["is not what was written"];

fn older_one(pair: &Pair<'_>) {
    let job = with_images(pair, 2);
    let cases = [
        by_user("printf X | dd of=$pages bs=1 seek=4096 conv=notrunc status=none", EDITED),
        by_user("printf X | dd of=$image/tree-2.tar bs=1 seek=20 conv=notrunc status=none", EDITED),
        by_user("printf X | dd of=$image/criu.bundle bs=1 seek=64 conv=notrunc status=none", EDITED),
        by_user("truncate -s -1 $pages", &["truncated"]),
        by_user("printf X >>$pages", &["extended"]),
        by_user("rm $pages", &["missing"]),
        by_user("rm $image/manifest", &["torn"]),
        by_user(": >$image/manifest", &["manifest is damaged"]),
        by_user("sed -i s/2001/2002/ $image/manifest", EDITED),
        by_user("cp 000001/manifest $image/manifest", &["copied or renamed"]),
        by_user("rm -r $image; cp -r 000001 000002", &["copied or renamed"]),
        by_user("mv $pages kept; ln -s ../kept $pages", &["symbolic link"]),
        by_user("mv $image kept; ln -s kept $image", &[]),
        by_user("chmod 0 $image/* $image", &["ermission denied"]),
    ];
    let mut wrong = Vec::new();
    for case in cases {
        let (output, event) = come_back(pair, job, &case);
        let says = [&["stasis: image 2 cannot be restored", "stasis: restored on"], case.says].concat();
        if (event.step, event.image) != (Step::Restore, Some(1))
            || !says.iter().all(|word| output.contains(word))
        {
            wrong.push(format!("`{}` should say {says:?}:\n{output}", case.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn anew(pair: &Pair<'_>) {
    let job = with_images(pair, 2);
    let case = by_user("for i in 00000?; do truncate -s 9 $i/$(ls -S $i | head -n 1); done", &["truncated"]);
    let (output, event) = come_back(pair, job, &case);
    assert_eq!(event.step, Step::Start, "{output}");
    for line in [
        "truncated",
        "image 2 cannot be restored",
        "image 1 cannot be restored",
        "the session starts anew from its script",
    ] {
        assert!(output.contains(line), "{line:?} is not in {output}");
    }
    let began = output.find("began restarts=").expect("the script ran again");
    assert_counts(&ticks(&output[began..]));
}

fn foreign(pair: &Pair<'_>) {
    let job = with_images(pair, 1);
    let others = with_images(pair, 1);
    let bobs = pair.submit("bob", &["--stasis"], COUNTER);
    checkpoint(pair, "bob", bobs, 1);
    for other in [others, bobs] {
        pair.cancel(other);
    }
    let bobs = pair.as_nodes_see(&pair.store_of("bob", bobs));
    let others = pair.as_nodes_see(&pair.store(others));
    let cases = [
        by_user(&format!("rm -r $image; cp -r {others}/000001 000001"), &["session of job"]),
        by_user(&format!("rm -r $image; ln -s {others}/000001 000001"), &[]),
        by_root(
            &format!("rm -r $image; cp -r {bobs}/000001 . && chown -R alice: 000001"),
            &["session of uid 2002"],
        ),
        by_root(&format!("rm -r $image; cp -rp {bobs}/000001 ."), &[]),
    ];
    for case in cases {
        let (output, event) = come_back(pair, job, &case);
        assert_eq!(event.step, Step::Start, "{}\n{output}", case.line);
        for word in [&["the session starts anew"], case.says].concat() {
            assert!(output.contains(word), "{}: {word:?} is not in {output}", case.line);
        }
    }
}

/// Of another site, as far as the key tells.
fn other_key(pair: &Pair<'_>) {
    let job = with_images(pair, 1);
    let key = Path::new("/etc/stasis/key");
    let old = pair.node(&pair.nodes()[0]).read_file(key).unwrap();
    let set = |text: &str| {
        pair.nodes().iter().for_each(|node| pair.node(node).write_file(key, 0o600, text.as_bytes()).unwrap());
    };
    set(&"7".repeat(64));
    let (output, event) = come_back(pair, job, &by_user("true", &[]));
    set(&old);
    assert_eq!(event.step, Step::Start, "{output}");
    assert!(output.contains("another site's key"), "{output}");
    let (output, event) = come_back(pair, job, &by_user("true", &[]));
    assert_eq!((event.step, event.image), (Step::Restore, Some(1)), "with the old key: {output}");
}

/// A counter with this many images, still running.
#[track_caller]
fn with_images(pair: &Pair<'_>, count: usize) -> JobId {
    let job = pair.submit("alice", &["--stasis"], COUNTER);
    checkpoint(pair, "alice", job, count);
    job
}

#[track_caller]
fn checkpoint(pair: &Pair<'_>, user: &str, job: JobId, count: usize) {
    pair.wait_output(job, "tick 20 ", SOON);
    for number in 1..=count {
        pair.run("ctl", user, &["scancel", "--batch", "--signal=40", &job.to_string()]);
        let what = format!("image {number}");
        pair.wait_event(job, &what, SOON, |event| {
            event.step == Step::Freeze && event.image == Some(number as u32)
        });
        pair.wait_counting(job);
    }
}

/// Sends a job back to the queue, changes its images, and lets it start: what it then prints, and whether it was
/// restored or started. Its images are as before afterwards.
#[track_caller]
fn come_back(pair: &Pair<'_>, job: JobId, case: &Case) -> (String, Event) {
    let run = pair.cluster.job(job).unwrap().restarts() + 1;
    let printed = {
        pair.run("ctl", "alice", &["scontrol", "requeue", &job.to_string()]);
        pair.cluster.wait_job_state(job, "PENDING", SOON).unwrap();
        pair.output(job).len()
    };
    let folder = pair.as_nodes_see(&pair.store(job));
    let copy = format!("{folder}.copy");
    pair.run("ctl", "root", &["cp", "-a", &folder, &copy]);
    let enter =
        "cd FOLDER; image=$(ls -d 00000? | tail -n 1); pages=$(ls -S $image/pages*.img | head -n 1); ";
    let line = format!("set -e; {}{}", enter.replace("FOLDER", &folder), case.line);
    pair.shell("ctl", case.user, &line);
    pair.start_now(job);
    let event = pair.wait_event(job, "a restore or a start", MOVE, |event| {
        event.restart_count >= run && matches!(event.step, Step::Restore | Step::Start)
    });
    let last = if event.step == Step::Start { "began restarts=" } else { "stasis: restored on" };
    let is_there = || pair.output(job)[printed..].contains(last).then_some(());
    stasis_testbed::wait_for(last, SOON, || Ok(is_there())).unwrap();
    pair.wait_running(job);
    let swap = "e=$(cat FOLDER/events.jsonl); rm -r FOLDER/0* FOLDER/kept 2>/dev/null; cp -a FOLDER.copy/0* FOLDER/; rm -r FOLDER.copy";
    pair.shell("ctl", "root", &swap.replace("FOLDER", &folder));
    let output = pair.output(job)[printed..].to_owned();
    (output, event)
}
