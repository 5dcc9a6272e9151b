//! The cluster that sessions are measured on, and one session of it.

use crate::jupyter::Server;
use crate::workload::{PORT, Workload};
use anyhow::{Context, ensure};
use stasis_contract::{Event, Manifest, Step};
use stasis_testbed::artifacts::{self, HOOKS};
use stasis_testbed::{Cluster, ClusterSpec, JobId, wait_for};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whose session is measured.
const USER: &str = "alice";
/// How long a step may take: this waits for conditions, and gives up only on what will never come.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// What the clusters are named with; the rest is the number of this process.
const PREFIX: &str = "bench-session-";
/// Longer than any dump takes.
const GRACE_S: u32 = 600;

/// A cluster of two nodes with Stasis.
pub struct Rig {
    /// The cluster.
    pub cluster: Cluster,
    cpus: u32,
    memory_mb: u64,
}

impl Rig {
    /// Boots it, with room for one session of this size on each node.
    pub fn up(cpus: u32, memory_mb: u64) -> anyhow::Result<Self> {
        let cluster = Cluster::up(ClusterSpec {
            cpus,
            memory_mb: memory_mb + 500,
            grace_time_s: GRACE_S,
            plugstack: vec![format!("required {HOOKS}")],
            install: artifacts::find(&artifacts::folder()?)?,
            ..ClusterSpec::named(format!("{PREFIX}{}", std::process::id()))
        })?;
        artifacts::install_key(&cluster)?;
        stasis_testbed::down_abandoned(PREFIX);
        Ok(Self { cluster, cpus, memory_mb })
    }

    /// What runs on its nodes.
    pub fn versions(&self) -> Vec<String> {
        let said = |argv: &[&str]| {
            let output =
                self.cluster.exec("n1", "root", argv).map(|output| output.stdout).unwrap_or_default();
            output.lines().next().unwrap_or_default().trim().to_owned()
        };
        let criu = said(&["criu", "--version"]).replace("Version:", "CRIU");
        vec![
            said(&["sinfo", "--version"]),
            criu,
            said(&["dpkg-query", "-W", "-f", "passt ${Version}", "passt"]),
        ]
    }

    /// Starts a session and fills it.
    pub fn session(&self, workload: &Workload) -> anyhow::Result<Session<'_>> {
        let script = format!("#!/bin/bash\n{}", Workload::server("\"$HOME\""));
        let port = format!("--stasis=port={PORT}");
        let (cpus, memory) = (format!("--cpus-per-task={}", self.cpus), format!("--mem={}", self.memory_mb));
        let job = self.cluster.sbatch(USER, &[&port, &cpus, &memory], &script)?;
        let mut session =
            Session { rig: self, job, kernel: String::new(), node: String::new(), others: Vec::new() };
        let running = self.cluster.wait_job_state(job, "RUNNING", PATIENCE)?;
        running.node().context("a running job has a node")?.clone_into(&mut session.node);
        session.kernel = session.server()?.start_kernel()?;
        session.fill(workload)
    }
}

/// A session; its jobs end with it.
pub struct Session<'a> {
    rig: &'a Rig,
    /// Its job.
    pub job: JobId,
    /// Its kernel.
    pub kernel: String,
    /// The node that it is on.
    pub node: String,
    others: Vec<JobId>,
}

impl Session<'_> {
    fn fill(self, workload: &Workload) -> anyhow::Result<Self> {
        self.server()?.run(&self.kernel, &workload.fill())?;
        Ok(self)
    }

    /// The server on the session's node.
    pub fn server(&self) -> anyhow::Result<Server> {
        Ok(Server::at(self.rig.cluster.ip(&self.node)?))
    }

    /// The node that it is not on.
    pub fn other_node(&self) -> &'static str {
        if self.node == "n1" { "n2" } else { "n1" }
    }

    /// The session's folder in the store, on the host.
    fn store(&self) -> anyhow::Result<PathBuf> {
        let users = self.rig.cluster.host_dir_shared().join("stasis");
        let below = PathBuf::from(&self.rig.cluster.spec().name).join(self.job.to_string());
        let folders =
            std::fs::read_dir(&users).with_context(|| format!("cannot list {}", users.display()))?;
        let found = folders.flatten().map(|user| user.path().join(&below)).find(|folder| folder.is_dir());
        found.with_context(|| format!("job {} has nothing in {}", self.job, users.display()))
    }

    /// Its events so far.
    pub fn events(&self) -> Vec<Event> {
        let read = |folder: PathBuf| std::fs::read_to_string(folder.join("events.jsonl")).ok();
        let text = self.store().ok().and_then(read).unwrap_or_default();
        Event::in_log(&text).unwrap_or_default()
    }

    /// Waits for an event of a step after the first `seen` events; all events from there up to it.
    pub fn wait(&self, step: Step, seen: usize) -> anyhow::Result<Vec<Event>> {
        let done = wait_for(&format!("job {} to report {step:?}", self.job), PATIENCE, || {
            let events: Vec<Event> = self.events().into_iter().skip(seen).collect();
            let over = |event: &Event| [step, Step::Failure, Step::Refused, Step::End].contains(&event.step);
            Ok(events.iter().position(over).map(|end| events[..=end].to_vec()))
        })?;
        let last = done.last().context("an event was found")?;
        let message = last.message.clone().unwrap_or_default();
        ensure!(last.step == step, "{:?} on {} instead of {step:?}: {message}", last.step, last.node);
        Ok(done)
    }

    /// What an image says of itself.
    pub fn manifest(&self, image: u32) -> anyhow::Result<Manifest> {
        let path = self.store()?.join(format!("{image:06}/manifest"));
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (_, json) = text.split_once('\n').context("a manifest has two lines")?;
        Ok(serde_json::from_str(json)?)
    }

    /// Has a checkpoint taken as `stasis checkpoint` does.
    pub fn request_checkpoint(&self) -> anyhow::Result<()> {
        let argv = ["scancel", "--batch", "--signal=40", &self.job.to_string()];
        self.rig.cluster.exec("ctl", USER, &argv)?.checked("ask for a checkpoint")?;
        Ok(())
    }

    /// Takes the node away. Returns when that was asked for.
    pub fn preempt(&mut self) -> anyhow::Result<SystemTime> {
        let place = format!("--nodelist={}", self.node);
        let args = ["--partition=high", &place, "--exclusive", "--mem=100", "--output=/dev/null"];
        let begun = SystemTime::now();
        let high = self.rig.cluster.sbatch("bob", &args, "#!/bin/bash\nsleep infinity\n")?;
        self.others.push(high);
        Ok(begun)
    }

    /// Ends the session, waits until the cluster is idle, and removes the images, as the other methods' are removed:
    /// what a run leaves in memory would make the next one look for memory that the machine has not used for long.
    pub fn end(&self) -> anyhow::Result<()> {
        for job in self.others.iter().chain([&self.job]) {
            self.rig.cluster.cancel(*job)?;
        }
        self.rig.cluster.wait_idle(PATIENCE)?;
        match self.store() {
            Ok(folder) => Ok(std::fs::remove_dir_all(folder)?),
            // It was ended before.
            Err(_) => Ok(()),
        }
    }
}

/// When an event was reported.
pub fn time(event: &Event) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(event.at_unix_ms)
}

/// Seconds from one moment to another, negative if they are in the other order.
pub fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(since) => since.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}
