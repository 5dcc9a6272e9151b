//! The demonstration, act by act. Each act is a few steps on the screen; the last one is a comparison.

use std::path::PathBuf;
use std::time::Duration;

use console::Style;
use serde::Serialize;
use stasis_contract::{Event, format_bytes, format_seconds};
use stasis_testbed::artifacts::{self, HOOKS, random_hex};
use stasis_testbed::jupyter::Server;
use stasis_testbed::{Cluster, ClusterSpec, JobId};

use crate::checks::{self, Check, Seen};
use crate::error::Result;
use crate::screen::Screen;
use crate::session::{FILE, Facts, PORT, Session, script};
use crate::timeline::{self, Moments, Span, Totals};
use crate::walk::{Walk, now_unix_ms};

/// How long starting something may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// Memory of a Jupyter server with two kernels, beside the array.
const JUPYTER_MB: u64 = 1_500;
/// Memory that a node claims beyond the session's.
const SPARE_MB: u64 = 500;
/// How far the loop counts before the preemption, and how much further after it.
const TICKS: u32 = 20;
/// Lines of the job's output that a failure shows.
const OUTPUT_LINES: usize = 15;
/// Events that a failure shows.
const EVENTS: usize = 12;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the cluster.
    pub name: String,
    /// How many compute nodes.
    pub nodes: usize,
    /// Size of the array.
    pub size_mb: u64,
    /// Folder of the built programs.
    pub artifacts: PathBuf,
}

impl Options {
    fn bytes(&self) -> u64 {
        self.size_mb * 1_000_000
    }

    fn memory_mb(&self) -> u64 {
        self.size_mb + JUPYTER_MB
    }
}

/// What a run that went well has to tell a program.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Slurm's id of the session's job.
    pub job_id: u32,
    /// Size of the array.
    pub array_bytes: u64,
    /// The node that was taken away.
    pub from: String,
    /// The node that the session is on now.
    pub to: String,
    /// The session before.
    pub before: Facts,
    /// The session after.
    pub after: Facts,
    /// The two compared.
    pub checks: Vec<Check>,
    /// The walk.
    pub timeline: Vec<Span>,
    /// What it adds up to.
    pub totals: Totals,
    /// Where a browser finds the session, token included.
    pub url: String,
}

/// What there is to show when a run fails.
#[derive(Debug, Default, Serialize)]
pub struct Evidence {
    /// The end of what the session's job has printed.
    pub job_output: String,
    /// The last lines of its event log.
    pub events: Vec<Event>,
}

/// Boots the cluster, with the plugin and a new key in every node.
pub fn boot(screen: &Screen, options: &Options) -> Result<Cluster> {
    let programs = artifacts::find(&options.artifacts)?;
    screen.line("Stasis: a preempted Jupyter session comes back on another node, with nothing lost.");
    screen.heading("A Slurm cluster on this machine");
    screen.step("booting the cluster", |_| {
        let cluster = Cluster::up(ClusterSpec {
            name: options.name.clone(),
            nodes: options.nodes,
            memory_mb: ClusterSpec::default().memory_mb.max(options.memory_mb() + SPARE_MB),
            plugstack: vec![format!("required {HOOKS}")],
            install: programs,
            ..ClusterSpec::default()
        })?;
        artifacts::install_key(&cluster)?;
        let version = |argv: &[&str]| -> Result<String> {
            let line = cluster.exec("n1", "root", argv)?.stdout;
            let number = line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            Ok(number.unwrap_or("of an unknown version").to_owned())
        };
        let (slurm, criu) = (version(&["sinfo", "--version"])?, version(&["criu", "--version"])?);
        let nodes = cluster.spec().node_names().join(", ");
        Ok((format!("{nodes} are up, with Slurm {slurm}, CRIU {criu} and the plugin"), cluster))
    })
}

/// A run of the demonstration on a cluster.
pub struct Story<'a> {
    screen: &'a Screen,
    cluster: &'a Cluster,
    options: &'a Options,
    job: Option<JobId>,
}

impl<'a> Story<'a> {
    /// The story before it is told.
    pub fn new(screen: &'a Screen, cluster: &'a Cluster, options: &'a Options) -> Self {
        Self { screen, cluster, options, job: None }
    }

    /// Tells it from the first step to the last.
    pub fn tell(&mut self) -> Result<Report> {
        let token = random_hex(16)?;
        let (job, from, mut session) = self.begin(&token)?;
        let before = self.screen.step("looking at the session", |_| {
            session.wait_tick(TICKS, PATIENCE)?;
            let facts = session.facts()?;
            Ok((
                format!("the loop has counted to {}, the file has {} lines", facts.tick, facts.data.lines),
                facts,
            ))
        })?;
        let walk = Walk::of(self.cluster, job);
        let (to, moments) = self.preempt(&walk, &from, &mut session)?;
        let after = self.look_again(&mut session, &before, &to)?;
        let events = walk.events();
        let (timeline, totals) = (timeline::spans(&events, moments), timeline::totals(&events, moments));
        let checks = self.compare(&session, &before, &after, &to, totals.frozen_s)?;
        self.show_walk(&timeline, &totals);
        checks::require(&checks)?;
        let url = format!("http://{}/lab/tree/data.ipynb?token={token}", session.server.address());
        let array_bytes = self.options.bytes();
        Ok(Report { job_id: job.0, array_bytes, from, to, before, after, checks, timeline, totals, url })
    }

    /// What there is to show of a run that failed.
    pub fn evidence(&self) -> Evidence {
        let Some(job) = self.job else { return Evidence::default() };
        let output = self.cluster.job_output(job).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = output.lines().collect();
        let (above, end) = lines.split_at(lines.len().saturating_sub(OUTPUT_LINES));
        // What Stasis itself has said is shown wherever it stands.
        let own = above.iter().filter(|line| line.starts_with("stasis: "));
        let job_output = own.chain(end).copied().collect::<Vec<_>>().join("\n");
        let mut events = Walk::of(self.cluster, job).events();
        events.drain(..events.len().saturating_sub(EVENTS));
        Evidence { job_output, events }
    }

    /// The first act: alice's session, and all that is to survive.
    fn begin(&mut self, token: &str) -> Result<(JobId, String, Session)> {
        let (screen, bytes, size_mb) = (self.screen, self.options.bytes(), self.options.size_mb);
        screen.heading("Alice starts a Jupyter session");
        let (job, node) = self.submit(token)?;
        let server = Server::new(self.cluster.ip(&node)?, PORT, token);
        let server = screen.step("Jupyter is starting", |_| {
            server.wait_up(PATIENCE)?;
            Walk::of(self.cluster, job).require_protected()?;
            Ok((format!("Jupyter answers at http://{}", server.address()), server))
        })?;
        let mut session = screen.step("opening two notebooks", |_| {
            let session = Session::open(server, bytes)?;
            Ok(("two notebooks are open, data and loop, each with a kernel".to_owned(), session))
        })?;
        screen.step(&format!("filling a numpy array of {size_mb} MB"), |_| {
            let checksum = session.fill(bytes)?;
            Ok((format!("data: a numpy array of {size_mb} MB of noise, checksum {checksum}"), ()))
        })?;
        screen.step("opening a file", |_| {
            session.write_file()?;
            Ok((format!("data: a thread writes a line into the open file ~/{FILE} every 50 ms"), ()))
        })?;
        screen.step("opening a terminal", |_| {
            let variable = session.open_terminal()?;
            Ok((format!("a terminal, in which she types {variable}"), ()))
        })?;
        screen.step("starting the loop", |_| {
            let tick = session.count(1, PATIENCE)?;
            Ok((format!("loop: a cell that never ends prints tick {tick}, tick {}, ...", tick + 1), ()))
        })?;
        Ok((job, node, session))
    }

    fn submit(&mut self, token: &str) -> Result<(JobId, String)> {
        let (stasis, memory) =
            (format!("--stasis=port={PORT}"), format!("--mem={}", self.options.memory_mb()));
        let command = format!("sbatch {stasis} {memory} jupyter.sh");
        let args = [&stasis, &memory, "--job-name=jupyter", "--output=jupyter-%j.log"];
        let (job, node) = self.screen.step(&command, |_| {
            let job = self.cluster.sbatch("alice", &args, &script(token))?;
            let running = self.cluster.wait_job_state(job, "RUNNING", PATIENCE)?;
            let node = running.node().unwrap_or("n1").to_owned();
            Ok((format!("{command}: job {job} runs on {node}"), (job, node)))
        })?;
        self.job = Some(job);
        Ok((job, node))
    }

    /// The second act: bob's job takes the node, and the session goes elsewhere.
    fn preempt(&self, walk: &Walk<'_>, from: &str, session: &mut Session) -> Result<(String, Moments)> {
        let screen = self.screen;
        screen.heading(&format!("Bob needs {from}, and his job may preempt alice's"));
        let command = format!("sbatch --partition=high --nodelist={from} --exclusive urgent.sh");
        let submitted_unix_ms = screen.step(&command, |_| {
            let (job, at) = walk.preempt(from)?;
            Ok((format!("{command}: job {job}"), at))
        })?;
        screen.step(&format!("{from}: saving the session"), |screen| {
            let commit = walk.until_saved(screen)?;
            let stored = format_bytes(commit.bytes.unwrap_or(0));
            Ok((format!("{from}: frozen, dumped and committed, {stored} in the store"), ()))
        })?;
        let to = screen.step("leaving the node", |screen| {
            let first = walk.until_elsewhere(screen)?;
            Ok((format!("requeued; {} has it now, and the image is authentic", first.node), first.node))
        })?;
        let ip = self.cluster.ip(&to)?;
        screen.step(&format!("{to}: CRIU restores"), |screen| {
            walk.until_resumed(screen)?;
            Ok((format!("{to}: the processes are restored and run"), ()))
        })?;
        let answered_unix_ms = screen.step("asking the kernel", |_| {
            session.wait_there(ip, PATIENCE)?;
            let answered = now_unix_ms();
            Ok((format!("the kernel answers at http://{}: 6 * 7 is 42", session.server.address()), answered))
        })?;
        Ok((to, Moments { submitted_unix_ms, answered_unix_ms }))
    }

    /// The third act: everything is asked again.
    fn look_again(&self, session: &mut Session, before: &Facts, to: &str) -> Result<Facts> {
        self.screen.heading(&format!("Is all of it on {to}?"));
        self.screen.spin("looking at the session again");
        let seen = session.wait_tick(before.tick + 2 * TICKS, PATIENCE).and_then(|_| session.facts());
        self.screen.still();
        seen
    }

    fn compare(
        &self,
        session: &Session,
        before: &Facts,
        after: &Facts,
        node: &str,
        frozen_s: f64,
    ) -> Result<Vec<Check>> {
        let path = self.cluster.host_dir_home().join("alice").join(FILE);
        let file =
            std::fs::read_to_string(path).map_err(crate::error::Error::system("read the session's file"))?;
        let (_, ticks_before) = session.listener.connections();
        let ticks = session.listener.ticks();
        let checks =
            Seen { before, after, node, ticks: &ticks, ticks_before, file: &file, frozen_s }.checks();
        for check in &checks {
            self.screen.tick(check.holds, &format!("{:<10}{}", check.what, check.said), "");
        }
        Ok(checks)
    }

    fn show_walk(&self, timeline: &[Span], totals: &Totals) {
        self.screen.heading("The walk, in seconds since bob's sbatch");
        let paint = |text: &str, how: &Style| self.screen.paint(text, how);
        for line in timeline::chart(timeline, paint) {
            self.screen.line(&line);
        }
        self.screen.line("");
        let (dumped, stored) = (format_bytes(totals.dumped_bytes), format_bytes(totals.stored_bytes));
        let lines = [
            ("frozen", totals.frozen_s, format!("{dumped} of memory, {stored} in the store")),
            (
                "notice → first answer",
                totals.notice_to_answer_s,
                "the preemption as the session felt it".to_owned(),
            ),
            (
                "sbatch → first answer",
                totals.submit_to_answer_s,
                "with the time that Slurm took to decide".to_owned(),
            ),
        ];
        for (what, seconds, remark) in lines {
            let seconds = self.screen.paint(&format!("{:>8}", format_seconds(seconds)), &Style::new().bold());
            self.screen.line(&format!("  {what:<24}{seconds}   {remark}"));
        }
    }
}
