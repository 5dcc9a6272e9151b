//! Driving CRIU inside a capsule.

use crate::Capsule;
use crate::action::{self, Question};
use crate::enter::{self, Identity};
use crate::stream::{Feed, Stream};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How many of the last lines of CRIU's log go into an error.
const LOG_LINES: usize = 5;

/// How long a restore may take: much longer than the memory of any node takes to be read. A CRIU that hangs must not
/// keep a session from being restored elsewhere.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a dump or a restore failed.
#[derive(Debug, Error)]
pub enum CriuError {
    /// CRIU could not be run.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// CRIU ran and failed.
    #[error("CRIU's {verb} failed ({status}): {log}")]
    Failed {
        /// `dump` or `restore`.
        verb: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last errors of its log.
        log: String,
    },
    /// CRIU dumped, the image was not safe, and the session goes on.
    #[error("the image was not kept")]
    NotKept,
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> CriuError {
    move |source| CriuError::Io { what, source }
}

/// Where CRIU keeps what it has found out about the running kernel.
const KERNEL_DATA: &str = "/run/criu.kdat";

/// Has CRIU find out about the kernel, once per boot of the node: some of its probes fail under the identity
/// that a dump needs (see [`Identity::RootActingFor`]), and they take longer than a small dump.
pub fn probe_kernel(program: &Path) {
    if !Path::new(KERNEL_DATA).exists() {
        // Whether CRIU likes what it finds is for the dump, and for `stasis doctor`, to say.
        let _ = quiet(std::process::Command::new(program).arg("check")).status();
    }
}

/// CRIU for one capsule.
#[derive(Debug)]
pub struct Criu<'a> {
    /// The program.
    pub program: &'a Path,
    /// The capsule that it works in.
    pub capsule: &'a Capsule,
    /// Folder for CRIU's sockets, logs and statistics; only root can enter it.
    pub folder: &'a Path,
}

/// What is to be dumped.
#[derive(Debug)]
pub struct Dump {
    /// Pid of the session's root inside the capsule.
    pub root_pid: i32,
    /// Uid of the session.
    pub uid: u32,
    /// Gid of the session.
    pub gid: u32,
    /// Whether the session goes on after the dump.
    pub leave_running: bool,
}

/// How a dump went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DumpReport {
    /// Seconds from the start of CRIU until everything was written and the tasks still frozen.
    pub dump_s: f64,
    /// Seconds for which the tasks were frozen, including what was done at that moment.
    pub frozen_s: f64,
}

/// A pipe of the image that is given another end.
#[derive(Debug)]
pub struct InheritedPipe<'a> {
    /// The new descriptor.
    pub fd: BorrowedFd<'a>,
    /// Inode of the pipe at the dump.
    pub inode: u64,
}

/// Whether this is a file with memory of a process: `pages-N.img`.
///
/// At a dump all tasks are frozen before the first one begins (cr-dump.c: `cr_dump_tasks`); at a restore the tasks' files
/// and sockets are not yet open when CRIU asks for the first one, but deleted files may have been made anew by then
/// (cr-restore.c: `root_prepare_shared`, then `prepare_mappings` of the first task).
pub fn holds_memory(name: &str) -> bool {
    name.starts_with("pages-")
}

/// Who gets a dump.
pub trait DumpSide {
    /// The next file begins; the pipe ends with it. Must not wait for that: CRIU writes several files at once.
    fn file(&mut self, name: String, pipe: File);
    /// Every file has begun and will end without anything further from CRIU, and the tasks are frozen. Returns whether
    /// they may go their way, to their end or on: whether the image is safe, or nothing is needed of them any more.
    fn may_let_go(&mut self) -> bool;
}

impl Criu<'_> {
    /// Dumps the session, file by file, to `side`. While CRIU has written all and the tasks are still frozen, it is asked
    /// whether they may be let go; if so, they end (or go on, with `leave_running`), else they go on as if nothing had
    /// been.
    ///
    /// # Errors
    /// [`CriuError::NotKept`] when they were not let go; otherwise what went wrong. The session goes on in any case.
    pub fn dump(&self, dump: &Dump, side: &mut dyn DumpSide) -> Result<DumpReport, CriuError> {
        let question = Question::listen(self.folder).map_err(io_error("listen for CRIU"))?;
        let mut stream = Stream::of_dump(self.folder).map_err(io_error("listen for CRIU"))?;
        let mut argv = self.argv("dump", "dump.log");
        argv.extend(["--tree".into(), dump.root_pid.to_string()]);
        argv.extend(["--network-lock", "skip", "--ghost-limit", "64M", "--skip-in-flight"].map(String::from));
        if dump.leave_running {
            argv.push("--leave-running".into());
        }
        let identity = Identity::RootActingFor { uid: dump.uid, gid: dump.gid };
        let started = Instant::now();
        let mut command =
            enter::command(self.capsule.helper(), self.capsule.namespaces(), &identity, &argv, &[]);
        command.env(action::SOCKET, question.path());
        let mut running = Running::start(&mut command)?;
        let (mut dump_s, mut kept) = (None, false);
        loop {
            match running.wait(&stream, Some(&question), None)? {
                Wake::Stream => {
                    if let Some((name, pipe)) = stream.take().map_err(io_error("take a file from CRIU"))? {
                        side.file(name, pipe);
                    }
                }
                // All files have been asked for by then, and requests are looked at first.
                Wake::Question => {
                    dump_s = Some(started.elapsed().as_secs_f64());
                    let answered = question.answer(|| {
                        kept = side.may_let_go();
                        kept
                    });
                    answered.map_err(io_error("answer CRIU"))?;
                }
                Wake::Ended => break,
                Wake::Late => {}
            }
        }
        let status = running.status()?;
        let frozen_s = started.elapsed().as_secs_f64();
        match dump_s {
            Some(dump_s) if status.success() => Ok(DumpReport { dump_s, frozen_s }),
            Some(_) if !kept => Err(CriuError::NotKept),
            _ => Err(self.failed("dump", status)),
        }
    }

    /// Restores the session from the files that `find` has; its root becomes a child of the capsule's init.
    ///
    /// # Errors
    /// What went wrong. What was restored of the session may still be in the capsule: end the capsule.
    pub fn restore(
        &self,
        pipes: &[InheritedPipe<'_>],
        find: &mut dyn FnMut(&str) -> Option<Feed>,
    ) -> Result<(), CriuError> {
        let mut stream = Stream::of_restore(self.folder).map_err(io_error("listen for CRIU"))?;
        let mut argv = self.argv("restore", "restore.log");
        argv.push("--restore-detached".into());
        for pipe in pipes {
            argv.extend([
                "--inherit-fd".into(),
                format!("fd[{}]:pipe:[{}]", pipe.fd.as_raw_fd(), pipe.inode),
            ]);
        }
        let keep: Vec<BorrowedFd<'_>> = pipes.iter().map(|pipe| pipe.fd).collect();
        let mut command =
            enter::command(self.capsule.helper(), self.capsule.namespaces(), &Identity::Root, &argv, &keep);
        let mut running = Running::start(&mut command)?;
        let deadline = Instant::now() + RESTORE_TIMEOUT;
        loop {
            match running.wait(&stream, None, Some(deadline))? {
                Wake::Stream => stream.serve(find).map_err(io_error("give a file to CRIU"))?,
                Wake::Ended => break,
                Wake::Late => {
                    return Err(io_error("wait for CRIU's restore")(io::ErrorKind::TimedOut.into()));
                }
                Wake::Question => {}
            }
        }
        let status = running.status()?;
        if status.success() { Ok(()) } else { Err(self.failed("restore", status)) }
    }

    fn argv(&self, verb: &str, log: &str) -> Vec<String> {
        let images = self.folder.display().to_string();
        let helper = self.capsule.helper().display().to_string();
        let program = self.program.display().to_string();
        let fixed = [
            &program,
            verb,
            "--images-dir",
            &images,
            "--log-file",
            log,
            "-v2",
            "--stream",
            "--action-script",
            &helper,
        ];
        let options = ["--tcp-established", "--link-remap", "--file-locks", "--manage-cgroups=ignore"];
        fixed.into_iter().chain(options).map(String::from).collect()
    }

    fn failed(&self, verb: &'static str, status: ExitStatus) -> CriuError {
        let log = fs::read(self.folder.join(format!("{verb}.log"))).unwrap_or_default();
        CriuError::Failed { verb, status, log: last_errors(&String::from_utf8_lossy(&log)) }
    }
}

fn quiet(command: &mut std::process::Command) -> &mut std::process::Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// What CRIU, or what became of it, wants of the shepherd.
enum Wake {
    /// It asks for a pipe.
    Stream,
    /// It asks whether the tasks may be let go.
    Question,
    /// It has ended.
    Ended,
    /// It has not been heard of in time.
    Late,
}

/// A CRIU that is running. It is killed if it is dropped before it has ended.
struct Running {
    child: Child,
    pidfd: OwnedFd,
}

impl Running {
    fn start(command: &mut std::process::Command) -> Result<Self, CriuError> {
        let child = quiet(command).spawn().map_err(io_error("run CRIU"))?;
        let pidfd = pidfd_open(&child).map_err(io_error("watch CRIU"))?;
        Ok(Self { child, pidfd })
    }

    /// Waits for what comes first, requests for files before all else.
    fn wait(
        &self,
        stream: &Stream,
        question: Option<&Question>,
        deadline: Option<Instant>,
    ) -> Result<Wake, CriuError> {
        let sources = [
            (stream.fd(), Wake::Stream),
            (question.map(|question| question.listener().as_fd()), Wake::Question),
            (Some(self.pidfd.as_fd()), Wake::Ended),
        ];
        let (mut fds, wakes): (Vec<PollFd<'_>>, Vec<Wake>) = sources
            .into_iter()
            .filter_map(|(fd, wake)| Some((PollFd::new(fd?, PollFlags::POLLIN), wake)))
            .unzip();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = left
                .map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(Wake::Late),
                Ok(_) => break,
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(io_error("wait for CRIU")(errno.into())),
            }
        }
        let ready = fds.iter().zip(wakes).find(|(fd, _)| fd.any().unwrap_or(false));
        Ok(ready.map_or(Wake::Late, |(_, wake)| wake))
    }

    fn status(&mut self) -> Result<ExitStatus, CriuError> {
        self.child.wait().map_err(io_error("wait for CRIU"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither does anything to a child that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pidfd_open(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes plain numbers; the child is not yet waited for, so the pid is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) };
    let fd = nix::Error::result(fd)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// CRIU says what went wrong in its log only, and the first error usually is the cause.
fn last_errors(log: &str) -> String {
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("Error")).take(LOG_LINES).collect();
    if errors.is_empty() { "its log names no error".into() } else { errors.join("; ") }
}
