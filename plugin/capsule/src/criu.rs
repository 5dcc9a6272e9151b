//! Driving CRIU inside a capsule.

use crate::Capsule;
use crate::action::{self, Question};
use crate::enter::{self, Identity};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How many of the last lines of CRIU's log go into an error.
const LOG_LINES: usize = 5;

/// The socket that CRIU's pager makes once it is ready.
const PAGER_SOCKET: &str = "lazy-pages.socket";
/// How long that may take.
const PAGER_TIMEOUT: Duration = Duration::from_secs(10);

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
        /// `dump`, `restore` or `lazy-pages`.
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
    /// Folder for CRIU's own files, on the node's disk; only root can enter it.
    pub images: &'a Path,
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

impl Criu<'_> {
    /// Dumps the session. While all is written and the tasks are still frozen, `keep` is called; when it returns
    /// true the tasks end (or go on, with `leave_running`), else they go on as if nothing had been.
    ///
    /// # Errors
    /// [`CriuError::NotKept`] when `keep` said no; otherwise what went wrong. The session goes on in any case.
    pub fn dump(&self, dump: &Dump, keep: &mut dyn FnMut() -> bool) -> Result<DumpReport, CriuError> {
        let question = Question::listen(self.images).map_err(io_error("listen for CRIU"))?;
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
        let mut child = quiet(&mut command).spawn().map_err(io_error("run CRIU"))?;
        let (mut dump_s, mut kept) = (None, false);
        while wait_for_question(&child, &question)? {
            dump_s = Some(started.elapsed().as_secs_f64());
            let answered = question.answer(|| {
                kept = keep();
                kept
            });
            answered.map_err(io_error("answer CRIU"))?;
        }
        let status = child.wait().map_err(io_error("wait for CRIU"))?;
        let frozen_s = started.elapsed().as_secs_f64();
        match dump_s {
            Some(dump_s) if status.success() => Ok(DumpReport { dump_s, frozen_s }),
            Some(_) if !kept => Err(CriuError::NotKept),
            _ => Err(self.failed("dump", status)),
        }
    }

    /// Restores the session; its root becomes a child of the capsule's init. With `lazy`, and where the kernel can,
    /// the session runs as soon as its state is back, and its memory follows, first what it touches and then all the
    /// rest, fed by the [`Pager`]. Elsewhere all memory is back when this returns.
    ///
    /// # Errors
    /// What went wrong. What was restored of the session may still be in the capsule: end the capsule.
    pub fn restore(&self, pipes: &[InheritedPipe<'_>], lazy: bool) -> Result<Option<Pager>, CriuError> {
        let pager = if lazy && self.can_page() { Some(self.start_pager()?) } else { None };
        let mut argv = self.argv("restore", "restore.log");
        argv.push("--restore-detached".into());
        argv.extend(pager.is_some().then(|| "--lazy-pages".into()));
        for pipe in pipes {
            argv.extend([
                "--inherit-fd".into(),
                format!("fd[{}]:pipe:[{}]", pipe.fd.as_raw_fd(), pipe.inode),
            ]);
        }
        let keep: Vec<BorrowedFd<'_>> = pipes.iter().map(|pipe| pipe.fd).collect();
        let mut command =
            enter::command(self.capsule.helper(), self.capsule.namespaces(), &Identity::Root, &argv, &keep);
        let child = quiet(&mut command).spawn().map_err(io_error("run CRIU"))?;
        let status = wait_at_most(child, RESTORE_TIMEOUT)?;
        if status.success() { Ok(pager) } else { Err(self.failed("restore", status)) }
    }

    /// Whether the kernel can feed memory to processes that run already.
    fn can_page(&self) -> bool {
        let mut check = std::process::Command::new(self.program);
        quiet(check.args(["check", "--feature", "uffd-noncoop"]))
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Starts CRIU's lazy-pages daemon, which feeds the restored processes from the image through userfaultfd(2).
    fn start_pager(&self) -> Result<Pager, CriuError> {
        let argv = self.argv("lazy-pages", "lazy-pages.log");
        let mut command =
            enter::command(self.capsule.helper(), self.capsule.namespaces(), &Identity::Root, &argv, &[]);
        let child = quiet(&mut command).spawn().map_err(io_error("run CRIU's pager"))?;
        let mut pager = Pager { child, folder: self.images.to_owned() };
        let socket = self.images.join(PAGER_SOCKET);
        let deadline = Instant::now() + PAGER_TIMEOUT;
        while !socket.exists() {
            if let Some(status) = pager.child.try_wait().map_err(io_error("wait for CRIU's pager"))? {
                return Err(self.failed("lazy-pages", status));
            }
            if Instant::now() > deadline {
                return Err(io_error("wait for CRIU's pager")(io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(pager)
    }

    fn argv(&self, verb: &str, log: &str) -> Vec<String> {
        let images = self.images.display().to_string();
        let helper = self.capsule.helper().display().to_string();
        let program = self.program.display().to_string();
        let fixed =
            [&program, verb, "--images-dir", &images, "--log-file", log, "-v2", "--action-script", &helper];
        let options = ["--tcp-established", "--link-remap", "--file-locks", "--manage-cgroups=ignore"];
        fixed.into_iter().chain(options).map(String::from).collect()
    }

    fn failed(&self, verb: &'static str, status: ExitStatus) -> CriuError {
        let log = fs::read(self.images.join(format!("{verb}.log"))).unwrap_or_default();
        CriuError::Failed { verb, status, log: last_errors(&String::from_utf8_lossy(&log)) }
    }
}

/// Feeds a restored session with its memory. The session needs it until it has [`Self::is_done`].
#[derive(Debug)]
pub struct Pager {
    child: Child,
    folder: PathBuf,
}

impl Pager {
    /// Whether all memory has arrived.
    pub fn is_done(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Waits until all memory has arrived. Until then the session cannot be dumped.
    ///
    /// # Errors
    /// When the pager failed: the session will soon, too.
    pub fn finish(&mut self) -> Result<(), CriuError> {
        let status = self.child.wait().map_err(io_error("wait for CRIU's pager"))?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read(self.folder.join("lazy-pages.log")).unwrap_or_default();
        Err(CriuError::Failed {
            verb: "lazy-pages",
            status,
            log: last_errors(&String::from_utf8_lossy(&log)),
        })
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn quiet(command: &mut std::process::Command) -> &mut std::process::Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Waits for a child, and ends it when it takes too long.
fn wait_at_most(mut child: Child, timeout: Duration) -> Result<ExitStatus, CriuError> {
    let pidfd = pidfd_open(&child).map_err(io_error("watch CRIU"))?;
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    let ended = loop {
        match poll(&mut fds, timeout) {
            Err(nix::Error::EINTR) => {}
            result => break result.is_ok_and(|ready| ready > 0),
        }
    };
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().map_err(io_error("wait for CRIU"))?;
    if ended { Ok(status) } else { Err(io_error("wait for CRIU's restore")(io::ErrorKind::TimedOut.into())) }
}

/// Waits until CRIU asks (true) or ends (false).
fn wait_for_question(child: &Child, question: &Question) -> Result<bool, CriuError> {
    let pidfd = pidfd_open(child).map_err(io_error("watch CRIU"))?;
    let mut fds = [
        PollFd::new(question.listener().as_fd(), PollFlags::POLLIN),
        PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(fds[0].any().unwrap_or(false)),
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(io_error("wait for CRIU")(errno.into())),
        }
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
