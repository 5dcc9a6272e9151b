//! Two nodes for one test: a session runs on one, is preempted, and comes back on the other.
//!
//! Jobs that a test submits here run on its pair alone, so tests run side by side. What a test leaves running is
//! cancelled when it ends, and if it fails everything that is known about its jobs is printed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stasis_contract::{Event, Step};
use stasis_testbed::{Cluster, Job, JobId, Node, Output, wait_for, wait_until};

use crate::{MOVE, SOON};

/// The folder of the user alice in the store, as nodes see it.
pub const STORE_OF_ALICE: &str = "/shared/stasis/2001";
/// Lines of logs that a failure shows.
const LOG_LINES: usize = 25;
/// Memory of a job that does not say otherwise: enough for a shell.
const MEMORY: &str = "--mem=200";

/// The pair of nodes that a test runs on.
pub struct Pair<'a> {
    /// The cluster, which other tests use too.
    pub cluster: &'a Cluster,
    number: usize,
    jobs: Mutex<Vec<JobId>>,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(cluster: &'a Cluster, number: usize) -> Self {
        Self { cluster, number, jobs: Mutex::default() }
    }

    /// Tells Slurm which nodes are a pair.
    pub(crate) fn claim(cluster: &Cluster, number: usize) -> stasis_testbed::Result<()> {
        let nodes = format!("NodeName={}", Self::names(number).join(","));
        let feature = Self::feature(number);
        let features = [format!("AvailableFeatures={feature}"), format!("ActiveFeatures={feature}")];
        let argv = ["scontrol", "update", &nodes, &features[0], &features[1]];
        cluster.exec("ctl", "root", &argv)?.checked("name a pair of nodes").map(drop)
    }

    fn names(number: usize) -> [String; 2] {
        [1, 2].map(|one| format!("n{}", 2 * number + one))
    }

    fn feature(number: usize) -> String {
        format!("pair{number}")
    }

    /// Names of the two nodes.
    pub fn nodes(&self) -> [String; 2] {
        Self::names(self.number)
    }

    /// The node of the pair that is not this one.
    pub fn other(&self, node: &str) -> String {
        let [first, second] = self.nodes();
        if node == first { second } else { first }
    }

    /// A node of the cluster.
    pub fn node(&self, name: &str) -> Node<'a> {
        self.cluster.node(name).unwrap()
    }

    /// Submits a script that is to run on this pair.
    #[track_caller]
    pub fn submit(&self, user: &str, args: &[&str], script: &str) -> JobId {
        let constraint = format!("--constraint={}", Self::feature(self.number));
        let args = [&[constraint.as_str(), MEMORY], args].concat();
        let job = self.cluster.sbatch(user, &args, script).unwrap();
        self.note(job);
        job
    }

    /// Has a job cancelled when the test ends.
    pub fn note(&self, job: JobId) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    /// Takes a node away from whatever runs there in the partition `low`, and keeps it until the test ends or the
    /// job is cancelled.
    #[track_caller]
    pub fn preempt(&self, node: &str) -> JobId {
        let place = format!("--nodelist={node}");
        let args = ["--partition=high", &place, "--exclusive", "--output=/dev/null"];
        self.submit("bob", &args, "#!/bin/bash\nsleep infinity\n")
    }

    /// Runs a command on a node and expects success.
    #[track_caller]
    pub fn run(&self, node: &str, user: &str, argv: &[&str]) -> Output {
        self.cluster.exec(node, user, argv).unwrap().checked(format!("run {argv:?} on {node}")).unwrap()
    }

    /// Runs a line of shell on a node and expects success.
    #[track_caller]
    pub fn shell(&self, node: &str, user: &str, line: &str) -> String {
        self.run(node, user, &["bash", "-c", line]).stdout
    }

    /// Waits until a job runs; where.
    #[track_caller]
    pub fn wait_running(&self, job: JobId) -> String {
        let job = self.cluster.wait_job_state(job, "RUNNING", SOON).unwrap();
        job.node().expect("a running job has a node").to_owned()
    }

    /// Waits until a job has ended, however.
    #[track_caller]
    pub fn wait_ended(&self, job: JobId, timeout: Duration) -> Job {
        let going = ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "REQUEUED"];
        self.cluster.wait_job(job, "over", timeout, |job| !going.contains(&job.state())).unwrap()
    }

    /// What a job printed so far.
    #[track_caller]
    pub fn output(&self, job: JobId) -> String {
        self.cluster.job_output(job).unwrap()
    }

    /// Waits until a job has printed something; all that it printed.
    #[track_caller]
    pub fn wait_output(&self, job: JobId, text: &str, timeout: Duration) -> String {
        wait_for(&format!("{text:?} in the output of job {job}"), timeout, || {
            let output = self.cluster.job_output(job)?;
            Ok(output.contains(text).then_some(output))
        })
        .unwrap()
    }

    /// Waits until a counter has counted on from what it has printed so far.
    #[track_caller]
    pub fn wait_counting(&self, job: JobId) {
        let seen = crate::scripts::ticks(&self.output(job)).last().copied().unwrap_or(0);
        self.wait_output(job, &format!("tick {} of", seen + 5), SOON);
    }

    /// A job's folder in the store, on the host.
    pub fn store(&self, job: JobId) -> PathBuf {
        self.store_of("alice", job)
    }

    /// The same for a given user.
    pub fn store_of(&self, user: &str, job: JobId) -> PathBuf {
        let uid = if user == "bob" { "2002" } else { "2001" };
        let folder = format!("stasis/{uid}/{}/{job}", self.cluster.spec().name);
        self.cluster.host_dir_shared().join(folder)
    }

    /// The event log of a job, of whichever user it is.
    #[track_caller]
    pub fn events(&self, job: JobId) -> Vec<Event> {
        let read = |user| std::fs::read_to_string(self.store_of(user, job).join("events.jsonl")).ok();
        let text = read("alice").or_else(|| read("bob")).unwrap_or_default();
        Event::in_log(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
    }

    /// Waits for an event of a job.
    #[track_caller]
    pub fn wait_event(
        &self,
        job: JobId,
        what: &str,
        timeout: Duration,
        is: impl Fn(&Event) -> bool,
    ) -> Event {
        wait_for(&format!("job {job} to report {what}"), timeout, || {
            let events = self.events(job);
            if let Some(event) = events.iter().find(|event| is(event)) {
                return Ok(Some(event.clone()));
            }
            Ok(None)
        })
        .unwrap_or_else(|error| panic!("{error}; it reported {:#?}", steps(&self.events(job))))
    }

    /// Waits for the first event of a step.
    #[track_caller]
    pub fn wait_step(&self, job: JobId, step: Step, timeout: Duration) -> Event {
        self.wait_event(job, &format!("{step:?}"), timeout, |event| event.step == step)
    }

    /// Waits until a job that has been requeued `restarts` times runs as a restored session; where.
    #[track_caller]
    pub fn wait_restored(&self, job: JobId, restarts: u32) -> String {
        let what = format!("{:?} in run {restarts}", Step::Resume);
        let is = |event: &Event| event.step == Step::Resume && event.restart_count == restarts;
        self.wait_event(job, &what, MOVE, is).node
    }

    /// The image folders of a job on the host, the oldest first.
    pub fn images(&self, job: JobId) -> Vec<PathBuf> {
        let number = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
        };
        let entries = std::fs::read_dir(self.store(job)).into_iter().flatten().flatten();
        let mut images: Vec<_> = entries.map(|entry| entry.path()).filter(number).collect();
        images.sort();
        images
    }

    /// Lets a pending job of alice's start.
    #[track_caller]
    pub fn start_now(&self, job: JobId) {
        self.cluster.start_now("alice", job).unwrap();
    }

    /// Cancels a job and waits until it is off its nodes.
    #[track_caller]
    pub fn cancel(&self, job: JobId) {
        self.cluster.cancel(job).unwrap();
        self.wait_ended(job, SOON);
    }

    /// Moves a running session to the other node by preempting it; where it is then. The node that it left is free
    /// again afterwards.
    #[track_caller]
    pub fn move_away(&self, job: JobId) -> String {
        let now = self.cluster.job(job).unwrap();
        let node = now.node().expect("the session runs").to_owned();
        let high = self.preempt(&node);
        let there = self.wait_restored(job, now.restarts() + 1);
        assert_ne!(there, node, "the session came back on the node that was taken from it");
        self.cancel(high);
        there
    }

    /// A path of the host as this cluster's nodes see it, if it is in the shared folder.
    pub fn as_nodes_see(&self, path: &Path) -> String {
        let rest = path.strip_prefix(self.cluster.host_dir_shared()).expect("a path in the shared folder");
        Path::new("/shared").join(rest).display().to_string()
    }

    fn print_all(&self, jobs: &[JobId]) {
        for job in jobs {
            let shown = self.cluster.exec("ctl", "root", &["scontrol", "show", "job", &job.to_string()]);
            eprintln!("---- job {job}\n{}", shown.map(|output| output.stdout).unwrap_or_default().trim());
            eprintln!("events: {:#?}", steps(&self.events(*job)));
            eprintln!("output:\n{}", tail(&self.cluster.job_output(*job).unwrap_or_default()));
        }
        for name in self.nodes() {
            for log in self.node(&name).logs() {
                eprintln!("---- {name}: {}", log.display());
                eprintln!("{}", tail(&std::fs::read_to_string(log).unwrap_or_default()));
            }
        }
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        let jobs = std::mem::take(self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner));
        if std::thread::panicking() {
            self.print_all(&jobs);
        }
        let mut argv = vec!["scancel".to_owned()];
        argv.extend(jobs.iter().map(JobId::to_string));
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        if argv.len() > 1 {
            let _ = self.cluster.exec("ctl", "root", &argv);
        }
        let nodes = self.nodes();
        for node in nodes.iter().map(|name| self.node(name)).filter(|node| !node.is_up()) {
            if let Err(error) = node.start() {
                eprintln!("{error}");
            }
        }
        let idle = wait_until("the pair to be idle again", SOON, || {
            let states = self.cluster.slurm_states()?;
            Ok(states.iter().filter(|(node, _)| nodes.contains(node)).all(|(_, state)| state == "idle"))
        });
        if let Err(error) = idle {
            eprintln!("{error}");
        }
    }
}

fn steps(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| {
        let message = event.message.as_deref().unwrap_or_default();
        format!("run {} on {}: {:?} {message}", event.restart_count, event.node, event.step)
    };
    events.iter().map(line).collect()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
