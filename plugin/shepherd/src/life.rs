//! The life of one session on one node: all branching is here.
//!
//! ```text
//!              no usable image                      a trigger, and the image is committed
//!   hook ──┬─────────────────────► running ───────────────────────────────────────► gone, requeued
//!          │                      ▲   │  ▲                                     
//!          └── restored from one ─┘   │  └── refused or failed: the session goes on, as plain Slurm's would
//!                                     └────► ended: Slurm sees how
//! ```

use crate::checkpoint;
use crate::journal::Journal;
use crate::node::NodeFolder;
use crate::notice::{self, Meaning, Watch};
use crate::output::Output;
use crate::plan::Plan;
use crate::restore::{self, Outcome};
use crate::signals::Signals;
use crate::start;
use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use slurm_sys::Slurm;
use stasis_capsule::network::{Network, own_mount_namespace};
use stasis_capsule::{Capsule, CapsuleEvent, processes};
use stasis_contract::{Event, Step, Trigger};
use stasis_handover::Handover;
use stasis_image::{CommittedImage, Job, Key, Store, User};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where images are kept, and the key that makes them authentic.
#[derive(Debug)]
pub struct Protection {
    /// The job's folder of the store.
    pub job: Job,
    /// The site's key.
    pub key: Key,
}

/// What stays the same for as long as the job is on this node.
#[derive(Debug)]
pub struct Shepherd {
    /// What the hook said.
    pub handover: Handover,
    /// How often the job was requeued.
    pub restart_count: u32,
    /// The job's folder on the node.
    pub folder: NodeFolder,
    /// The store, or why there is none.
    pub store: Result<Protection, String>,
    /// The event log.
    pub journal: Journal,
    /// slurmctld.
    pub slurm: Slurm,
    /// The process that slurmstepd prepared to run the script.
    task: Pid,
    /// Whether Slurm would requeue the job.
    may_requeue: bool,
}

/// The session that is running.
#[derive(Debug)]
pub struct Session {
    /// Its capsule.
    pub capsule: Capsule,
    /// Its network.
    pub network: Network,
    /// Its standard output and error.
    pub output: Output,
    /// Pid of the root of its process tree, inside the capsule.
    pub root_pid: i32,
    /// Folders that only it sees.
    pub trees: Vec<PathBuf>,
    /// Whether it was brought back from an image.
    pub restored: bool,
}

impl Session {
    /// Passes a signal on to the batch script. Slurm means it for the script, but knows only this process: with
    /// cgroups it signals no others until it kills them all.
    fn signal_script(&self, signal: i32) {
        processes::signal(&self.capsule, self.root_pid + 1, signal);
    }
}

/// How a session left.
enum End {
    /// Its root ended, with this raw wait status.
    Exited(i32),
    /// It is in the store, and the job goes back to the queue.
    Saved(Box<CommittedImage>, Trigger),
}

/// Keeps the session of the hand-over document until it ends or has left the node.
pub fn run(document: RawFd, socket: RawFd, task_pid: i32) -> anyhow::Result<ExitCode> {
    let signals = Signals::block().context("cannot block signals")?;
    // SAFETY: the hook passed these two descriptors to this process for this purpose.
    let (mut document, task) = unsafe { (File::from_raw_fd(document), OwnedFd::from_raw_fd(socket)) };
    for fd in [document.as_fd(), task.as_fd()] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    let mut text = Vec::new();
    document.read_to_end(&mut text)?;
    let handover: Handover = serde_json::from_slice(&text).context("the hand-over document")?;
    if handover.nodes != 1 {
        return refuse_nodes(&task, handover.nodes);
    }
    own_mount_namespace()?;
    let shepherd = Shepherd::new(handover, Pid::from_raw(task_pid))?;
    let criu = shepherd.handover.site.criu.clone();
    std::thread::spawn(move || stasis_capsule::criu::probe_kernel(&criu));
    let Some(mut session) = shepherd.begin(&task)? else { return Ok(ExitCode::SUCCESS) };
    let end = shepherd.keep(&mut session, &signals)?;
    Ok(shepherd.finish(session, end))
}

/// A job that got more nodes than one, in spite of what sbatch checked: it must not run as if it were safe.
fn refuse_nodes(task: &OwnedFd, nodes: u32) -> anyhow::Result<ExitCode> {
    let (_, err) = start::streams_without_script(task)?;
    writeln!(
        File::from(err),
        "stasis: a session lives on one node, and this job has {nodes}: submit it with --nodes=1"
    )?;
    Ok(ExitCode::FAILURE)
}

impl Shepherd {
    fn new(handover: Handover, task: Pid) -> anyhow::Result<Self> {
        let folder = NodeFolder::of(&handover.site, handover.job_id);
        folder.create().with_context(|| format!("cannot create {}", folder.path.display()))?;
        let store = protection(&handover);
        let slurm = Slurm::open();
        let (restart_count, may_requeue) = history(slurm, handover.job_id, store.as_ref().ok());
        let journal =
            Journal::new(&handover, restart_count, store.as_ref().ok().map(|store| store.job.clone()));
        Ok(Self { handover, restart_count, folder, store, journal, slurm, task, may_requeue })
    }

    /// Restores the session if the job was here before, else starts it. `None` when another node is to try.
    fn begin(&self, task: &OwnedFd) -> anyhow::Result<Option<Session>> {
        let mut messages = Vec::new();
        if self.restart_count > 0 {
            let started = Instant::now();
            let attempt = restore::newest_first(self);
            messages = attempt.messages;
            match attempt.outcome {
                Outcome::Restored(session) => {
                    return self.resume(*session, task, messages, started).map(Some);
                }
                Outcome::Elsewhere => return self.send_elsewhere(task, &messages).map(|()| None),
                Outcome::Nothing => messages.push("the session starts anew from its script".into()),
            }
        }
        if let Err(reason) = &self.store {
            messages.push(format!("this session is NOT protected: {reason}"));
        }
        if !self.may_requeue {
            messages.push("this session is NOT protected: the job was submitted with --no-requeue".into());
        }
        let mut session = start::cold(self, task)?;
        for message in messages {
            session.output.say(&message);
        }
        Ok(Some(session))
    }

    fn resume(
        &self,
        mut session: Session,
        task: &OwnedFd,
        messages: Vec<String>,
        started: Instant,
    ) -> anyhow::Result<Session> {
        let (out, err) = start::streams_without_script(task)?;
        session.output.relay_to(out, err);
        let seconds = started.elapsed().as_secs_f64();
        let message = session.network.describe();
        self.journal.write(&Event { seconds: Some(seconds), message, ..self.journal.event(Step::Resume) });
        for message in messages {
            session.output.say(&message);
        }
        session.output.say(&format!("restored on {} in {seconds:.2} s", self.handover.node));
        Ok(session)
    }

    /// Gives the job back to the queue, to be tried on another node.
    fn send_elsewhere(&self, task: &OwnedFd, messages: &[String]) -> anyhow::Result<()> {
        let (_, err) = start::streams_without_script(task)?;
        let mut err = File::from(err);
        for message in messages {
            writeln!(err, "stasis: {message}")?;
        }
        writeln!(err, "stasis: the image is sound, so the job is requeued for another node")?;
        self.folder.mark_requeue(Some(&self.handover.node))?;
        self.journal.note(Step::Requeue, None, "another node is to restore the session");
        Ok(self.slurm.requeue(self.handover.job_id)?)
    }

    fn keep(&self, session: &mut Session, signals: &Signals) -> anyhow::Result<End> {
        let mut watch = Watch::start(self.slurm, self.handover.job_id);
        let mut plan = Plan::new(&self.handover.spec, session.restored);
        loop {
            if let Some(end) = hear_capsule(session)? {
                return Ok(end);
            }
            while let Some(signal) = signals.next() {
                self.on_signal(session, &mut plan, signal);
            }
            let unannounced = watch.as_mut().and_then(|watch| watch.look(self.slurm, self.handover.job_id));
            if let Some(left_s) = unannounced {
                watch = None;
                plan.notice(Trigger::Preemption, left_s);
            }
            if let Some((trigger, leaves)) = plan.due()
                && let Some(image) = self.checkpoint(session, &mut plan, trigger, leaves)
            {
                return Ok(End::Saved(Box::new(image), trigger));
            }
            let wake = [watch.as_ref().map(Watch::next), plan.ask_at()].into_iter().flatten().min();
            wait(session, signals, wake);
        }
    }

    fn on_signal(&self, session: &mut Session, plan: &mut Plan, signal: i32) {
        match signal {
            // The task, after it had joined or delivered.
            libc::SIGCHLD => drop(waitpid(self.task, Some(WaitPidFlag::WNOHANG))),
            // Sent with every other signal, to wake what is stopped; and the way to end a job.
            libc::SIGCONT | libc::SIGTERM => session.signal_script(signal),
            _ => match notice::meaning(self, signal) {
                Meaning::Request => drop(self.checkpoint(session, plan, Trigger::Request, false)),
                Meaning::Ends { trigger, left_s } => plan.notice(trigger, left_s),
                Meaning::ForScript => session.signal_script(signal),
            },
        }
    }

    /// Takes a checkpoint and says how it went. Returns the image of a session that has left with it.
    fn checkpoint(
        &self,
        session: &mut Session,
        plan: &mut Plan,
        trigger: Trigger,
        leaves: bool,
    ) -> Option<CommittedImage> {
        match checkpoint::take(self, session, trigger, !leaves) {
            Ok(image) if leaves => return Some(image),
            Ok(_) => plan.saved(),
            Err(error) => {
                let step = if error.is_refusal() { Step::Refused } else { Step::Failure };
                self.journal.note(step, Some(trigger), &error.to_string());
                if plan.not_saved(&error) {
                    session.output.say(&format!("no checkpoint was taken, and the session goes on: {error}"));
                }
            }
        }
        None
    }

    fn finish(&self, session: Session, end: End) -> ExitCode {
        let Session { capsule, network, mut output, .. } = session;
        capsule.end();
        drop(network);
        output.finish();
        match end {
            End::Exited(status) => {
                self.journal.note(Step::End, None, &describe(status));
                self.folder.remove();
                end_as(status)
            }
            End::Saved(image, trigger) => {
                self.requeue(&image, trigger, &mut output);
                ExitCode::SUCCESS
            }
        }
    }

    /// Gives the job back to the queue. Takes the proof that the session is safe.
    fn requeue(&self, image: &CommittedImage, trigger: Trigger, output: &mut Output) {
        output.say(&format!(
            "checkpointed as image {} on {}; the job is requeued",
            image.number(),
            self.handover.node
        ));
        if let Err(error) = self.folder.mark_requeue(None) {
            output.say(&format!("the job may wait in the queue for two minutes: {error}"));
        }
        // During a preemption's grace time slurmctld requeues the job by itself once it has ended.
        let asked =
            if trigger == Trigger::Preemption { Ok(()) } else { self.slurm.requeue(self.handover.job_id) };
        let message = asked.err().map(|error| error.to_string());
        if let Some(message) = &message {
            output.say(message);
        }
        self.journal.write(&Event {
            image: Some(image.number()),
            trigger: Some(trigger),
            message,
            ..self.journal.event(Step::Requeue)
        });
    }
}

/// Reads what the capsule has reported, until there is no more or the session has ended.
fn hear_capsule(session: &mut Session) -> anyhow::Result<Option<End>> {
    loop {
        let mut ready = [PollFd::new(session.capsule.report_fd(), PollFlags::POLLIN)];
        let readable = poll(&mut ready, PollTimeout::ZERO).unwrap_or(0) > 0;
        if !readable && !session.capsule.has_buffered_event() {
            return Ok(None);
        }
        match session.capsule.next_event() {
            CapsuleEvent::Exited { pid, status } if pid == session.root_pid => {
                return Ok(Some(End::Exited(status)));
            }
            CapsuleEvent::Exited { .. } => {}
            CapsuleEvent::Gone => anyhow::bail!("the capsule's init was killed"),
        }
    }
}

/// How often the job was requeued, and whether it may be. slurmstepd does not tell SPANK of a batch step's, and puts
/// it into the environment only after the hook, so slurmctld is asked. Should it not answer, an image says that
/// there was an earlier run.
fn history(slurm: Slurm, job_id: u32, store: Option<&Protection>) -> (u32, bool) {
    if let Ok(job) = slurm.job(job_id) {
        return (job.restart_count, job.may_requeue);
    }
    let images = store.and_then(|store| store.job.images().ok()).unwrap_or_default();
    let claims = images.iter().filter_map(|image| image.peek().ok());
    let runs = claims.map(|manifest| manifest.claims().origin.restart_count.saturating_add(1));
    (runs.max().unwrap_or(0), true)
}

fn protection(handover: &Handover) -> Result<Protection, String> {
    let key = Key::load(&handover.site.key).map_err(|error| error.to_string())?;
    let user = User { uid: handover.uid, gid: handover.gid, groups: handover.groups.clone() };
    let store = Store::open(&handover.spec.store).map_err(|error| error.to_string())?;
    let job = store.job(&handover.cluster, handover.job_id, user).map_err(|error| error.to_string())?;
    Ok(Protection { job, key })
}

/// Sleeps until something happens or `wake` has come.
fn wait(session: &Session, signals: &Signals, wake: Option<Instant>) {
    let timeout = wake.map_or(PollTimeout::NONE, |wake| {
        let left = wake.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [
        PollFd::new(signals.fd(), PollFlags::POLLIN),
        PollFd::new(session.capsule.report_fd(), PollFlags::POLLIN),
    ];
    let _ = poll(&mut fds, timeout);
}

fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit code {}", libc::WEXITSTATUS(status))
    }
}

/// Ends this process as the session ended, since this process is what Slurm looks at.
fn end_as(status: i32) -> ExitCode {
    if !libc::WIFSIGNALED(status) {
        return ExitCode::from(libc::WEXITSTATUS(status) as u8);
    }
    let number = libc::WTERMSIG(status);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if let Ok(signal) = Signal::try_from(number) {
        // SAFETY: SigDfl installs no handler.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // SAFETY: plain number; the signal is unblocked and has its default action.
    unsafe { libc::raise(number) };
    ExitCode::from(128u8.wrapping_add(number as u8))
}
