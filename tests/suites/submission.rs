//! What sbatch, salloc and srun say to what cannot work, before anything runs; and what they let pass.

use std::process::ExitCode;

use stasis_contract::Step;
use stasis_testbed::{JobId, wait_until};
use stasis_tests::scripts::COUNTER;
use stasis_tests::{MOVE, Pair, SOON, Suite};

fn main() -> ExitCode {
    Suite::new("submission")
        .test("bad_options_are_refused_by_name", bad_options)
        .test("more_than_one_node_is_refused", more_nodes)
        .test("heterogeneous_jobs_are_refused", heterogeneous)
        .test("salloc_and_srun_are_refused", interactive)
        .test("options_in_the_script_count_too", in_the_script)
        .test("what_the_user_sets_wins_over_the_defaults", user_wins)
        .test("a_step_refuses_the_checkpoint_by_name", running_step)
        .test("job_arrays_work", array)
        .test("jobs_without_the_option_are_not_touched", untouched)
        .run()
}

const SCRIPT: &str = "#!/bin/bash\nsleep 60\n";

/// Runs a command as alice, with a name of its own for the job, and expects that it fails and says all of these.
#[track_caller]
fn refused(pair: &Pair<'_>, argv: &[&str], says: &[&str]) {
    let name = format!("refused-{}", blake3::hash(format!("{argv:?}").as_bytes()).to_hex());
    let name_option = format!("--job-name={name}");
    let argv = [&argv[..1], &[&name_option], &argv[1..]].concat();
    let output = pair.node("ctl").exec_with("alice", &argv, SCRIPT.as_bytes()).unwrap();
    assert!(!output.success(), "{argv:?} was accepted: {}{}", output.stdout, output.stderr);
    for word in says {
        assert!(output.stderr.contains(word), "{argv:?}: {word:?} is not in {:?}", output.stderr);
    }
    assert_eq!(pair.run("ctl", "root", &["squeue", "-h", "-n", &name]).stdout, "", "nothing was queued");
}

fn bad_options(pair: &Pair<'_>) {
    let cases: [(&str, &[&str]); 9] = [
        ("intervall=5m", &["--stasis", "intervall", "interval"]),
        ("interval=-5m", &["interval", "-5m", "negative"]),
        ("interval=soon", &["interval", "soon"]),
        ("grace=-1", &["grace", "negative"]),
        ("store=/tmp/x", &["store=/tmp/x", "shares"]),
        ("store=relative", &["store=relative", "absolute"]),
        ("keep=0", &["keep=0"]),
        ("port=80", &["port=80"]),
        ("compress=best", &["compress=best", "zstd"]),
    ];
    for (option, says) in cases {
        refused(pair, &["sbatch", &format!("--stasis={option}")], says);
    }
}

fn more_nodes(pair: &Pair<'_>) {
    for nodes in ["--nodes=2", "-N2", "--nodes=1-2"] {
        refused(pair, &["sbatch", "--stasis", nodes], &["--nodes", "one node"]);
    }
}

fn heterogeneous(pair: &Pair<'_>) {
    let argv = ["sbatch", "--stasis", "-n1", ":", "-n1"];
    refused(pair, &argv, &["--stasis", "heterogeneous"]);
}

fn interactive(pair: &Pair<'_>) {
    refused(pair, &["salloc", "--stasis", "true"], &["--stasis", "salloc"]);
    refused(pair, &["srun", "--pty", "--stasis", "true"], &["--stasis", "srun"]);
    refused(pair, &["srun", "--stasis", "true"], &["--stasis", "srun"]);
}

fn in_the_script(pair: &Pair<'_>) {
    let cases = [
        ("#SBATCH --stasis=intervall=5m\n", "intervall"),
        ("#SBATCH --stasis\n#SBATCH --nodes=2\n", "one node"),
    ];
    for (lines, says) in cases {
        let path = format!("/home/alice/in-script-{}.sh", says.len());
        let script = format!("#!/bin/bash\n{lines}sleep 60\n");
        std::fs::write(pair.cluster.host_path(&path).unwrap(), script).unwrap();
        pair.run("ctl", "root", &["chown", "alice:", &path]);
        refused(pair, &["sbatch", &path], &["--stasis", says]);
    }
}

fn user_wins(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis"], SCRIPT);
    let shown = pair.cluster.job(job).unwrap();
    assert_eq!(shown.field("Requeue"), Some("1"));
    let job = pair.submit("alice", &["--stasis", "--no-requeue"], SCRIPT);
    assert_eq!(pair.cluster.job(job).unwrap().field("Requeue"), Some("0"));
}

fn running_step(pair: &Pair<'_>) {
    let job = pair.submit("alice", &["--stasis", "--ntasks=1"], COUNTER);
    pair.wait_output(job, "tick 20 ", SOON);
    let id = job.to_string();
    let jobid = format!("--jobid={id}");
    let argv = ["srun", &jobid, "--overlap", "--mem=0", "--job-name=guest", "sleep", "600"];
    let mut step = pair.cluster.spawn("ctl", "alice", &argv).unwrap();
    wait_until("the step to run", SOON, || {
        Ok(pair
            .cluster
            .exec("ctl", "root", &["squeue", "-h", "-s", "-j", &id])?
            .stdout
            .contains(&format!("{id}.0")))
    })
    .unwrap();
    pair.run("ctl", "alice", &["scancel", "--batch", "--signal=40", &id]);
    let refusal = pair.wait_step(job, Step::Refused, SOON);
    let message = refusal.message.unwrap_or_default();
    assert!(message.contains(&format!("{id}.0")), "it names the step: {message}");
    pair.wait_output(job, "no checkpoint was taken", SOON);
    pair.wait_counting(job);
    // With the step gone, it can be saved again.
    pair.run("ctl", "alice", &["scancel", &format!("{id}.0")]);
    let _ = step.wait();
    pair.run("ctl", "alice", &["scancel", "--batch", "--signal=40", &id]);
    pair.wait_step(job, Step::Commit, SOON);
    pair.wait_counting(job);
}

fn array(pair: &Pair<'_>) {
    let script = COUNTER.replace("began", "task $SLURM_ARRAY_TASK_ID began");
    let first = pair.submit("alice", &["--stasis", "--array=1-2", "--mem=150"], &script);
    let ids = wait_array(pair, first);
    assert_eq!(ids.len(), 2, "{ids:?}");
    for id in &ids {
        pair.note(*id);
        pair.wait_output(*id, "tick 20 ", SOON);
    }
    let victim = ids[1];
    let node = pair.wait_running(victim);
    pair.preempt(&node);
    pair.wait_restored(victim, 1);
    pair.wait_counting(victim);
    let output = pair.wait_output(victim, "stasis: restored", MOVE);
    stasis_tests::scripts::assert_counts(&stasis_tests::scripts::ticks(&output));
    assert_eq!(output.matches("began").count(), 1);
}

/// The job ids of an array's tasks, once all run.
fn wait_array(pair: &Pair<'_>, first: JobId) -> Vec<JobId> {
    let mut ids = Vec::new();
    wait_until("both tasks to run", SOON, || {
        let argv = ["squeue", "-h", "-r", "-t", "RUNNING", "-j", &first.to_string(), "-o", "%A"];
        let listed = pair.cluster.exec("ctl", "root", &argv)?.stdout;
        ids = listed.lines().filter_map(|id| id.trim().parse().ok().map(JobId)).collect();
        ids.sort();
        Ok(ids.len() == 2)
    })
    .unwrap();
    ids
}

/// The plugin is loaded into every job of a site: one that did not ask for it must not see it.
fn untouched(pair: &Pair<'_>) {
    let script = r#"#!/bin/bash
trap '' USR1
echo "environment: $(env | grep -iE 'stasis|UV_USE|SPANK|SBATCH_' | tr '\n' ' ')"
echo "namespaces: $(for ns in pid mnt net ipc uts time user cgroup; do readlink /proc/self/ns/$ns; done | tr '\n' ' ')"
echo "parent: $(cat /proc/$PPID/comm)"
echo "streams: $(readlink /proc/$$/fd/1) $(readlink /proc/$$/fd/2)"
touch "/tmp/of-$SLURM_JOB_ID"
echo done
"#;
    let job = pair.submit("alice", &[], script);
    let output = pair.wait_output(job, "done", SOON);
    let shown = pair.wait_ended(job, SOON);
    let field = |name| shown.field(name).unwrap_or_default().to_owned();
    let said = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name:?} is not in {output}")).trim().to_owned()
    };
    assert_eq!(said("environment"), "");
    let node = field("BatchHost");
    let namespaces =
        "for ns in pid mnt net ipc uts time user cgroup; do readlink /proc/1/ns/$ns; done | tr '\\n' ' '";
    let of_node = pair.shell(&node, "root", namespaces);
    let (own, of_node): (Vec<String>, Vec<String>) = (words(&said("namespaces")), words(&of_node));
    assert_eq!(own, of_node, "the namespaces of the node's init");
    assert_eq!(said("parent"), "slurmstepd");
    assert_eq!(said("streams"), format!("{0} {0}", field("StdOut")), "Slurm's own files");
    let seen = pair.run(&node, "root", &["ls", &format!("/tmp/of-{job}")]);
    assert!(seen.success(), "the node's own /tmp");
    assert!(!pair.store(job).exists(), "nothing in the store");
    for node in pair.nodes() {
        let left = format!("ls -d /run/stasis/job-{job} 2>/dev/null || true");
        assert_eq!(pair.shell(&node, "root", &left), "", "on {node}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
