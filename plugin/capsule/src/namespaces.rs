//! Making a capsule, hearing from it, and ending it.

use crate::init::{InitOrder, PrivateCopy, TreeSpec};
use crate::{CAPSULE_DIR, REAPER, entry, spawn};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thiserror::Error;

/// Why a capsule could not be made.
#[derive(Debug, Error)]
pub enum CapsuleError {
    /// A system call of this process failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The maker or the init said what failed.
    #[error("the capsule could not be made: {0}")]
    Maker(String),
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> CapsuleError {
    let what = what.into();
    move |source| CapsuleError::Io { what, source }
}

/// What a capsule is made of.
#[derive(Debug, Clone)]
pub struct CapsuleSpec {
    /// The program `stasis-capsule`.
    pub helper: PathBuf,
    /// The program `stasis-reaper`, copied into the capsule.
    pub reaper: PathBuf,
    /// Folders private to the capsule.
    pub trees: Vec<TreeSpec>,
    /// Whether the reaper is copied in; a restored session brings its own.
    pub fresh: bool,
    /// For a restore: pids up to this one are left free for the image.
    pub last_pid: Option<i32>,
    /// Group of terminals, usually `tty`.
    pub tty_gid: u32,
}

/// The three namespaces of a capsule.
#[derive(Debug)]
pub struct Namespaces {
    pid: OwnedFd,
    mount: OwnedFd,
    net: OwnedFd,
}

impl Namespaces {
    /// Descriptors of the pid, mount and network namespace, in this order.
    pub fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.pid.as_fd(), self.mount.as_fd(), self.net.as_fd()]
    }
}

/// What the capsule's init reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapsuleEvent {
    /// A child of the init ended. The pid is the capsule's; the status is as wait(2) gives it.
    Exited {
        /// Pid inside the capsule.
        pid: i32,
        /// Raw wait status.
        status: i32,
    },
    /// The init itself is gone, and all with it.
    Gone,
}

/// A running capsule. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Capsule {
    init: Pid,
    namespaces: Namespaces,
    report: BufReader<File>,
    helper: PathBuf,
}

impl Capsule {
    /// Makes a capsule with nothing but its init in it.
    ///
    /// # Errors
    /// When a namespace or mount cannot be made; the message names it.
    pub fn create(spec: &CapsuleSpec) -> Result<Self, CapsuleError> {
        let (report, report_end) =
            pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| io_error("create a pipe")(errno.into()))?;
        let order = InitOrder {
            trees: all_trees(spec),
            last_pid: spec.last_pid,
            tty_gid: spec.tty_gid,
            report_fd: report_end.as_raw_fd(),
        };
        let mut command = Command::new(&spec.helper);
        command.args([entry::INIT, &entry::argument(&order)]).stdin(Stdio::null()).current_dir("/");
        let mut maker = spawn::prepare(&mut command, &[report_end.as_fd()])
            .spawn()
            .map_err(io_error(format!("run {}", spec.helper.display())))?;
        drop(report_end);
        let mut report = BufReader::new(File::from(report));
        let init = wait_until_ready(&mut report);
        let _ = maker.wait();
        let init = Pid::from_raw(init?);
        let namespaces = open_namespaces(init)?;
        Ok(Self { init, namespaces, report, helper: spec.helper.clone() })
    }

    /// The init's pid as the node sees it.
    pub fn init_pid(&self) -> Pid {
        self.init
    }

    /// Where the node finds a path of the capsule's.
    pub fn seen_from_node(&self, path: &Path) -> PathBuf {
        format!("/proc/{}/root{}", self.init, path.display()).into()
    }

    /// The capsule's namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The program that serves as helper.
    pub fn helper(&self) -> &Path {
        &self.helper
    }

    /// A descriptor that is readable when [`Self::next_event`] will not block.
    pub fn report_fd(&self) -> BorrowedFd<'_> {
        self.report.get_ref().as_fd()
    }

    /// Whether an event has been read from the pipe already.
    pub fn has_buffered_event(&self) -> bool {
        !self.report.buffer().is_empty()
    }

    /// Waits for the next report.
    pub fn next_event(&mut self) -> CapsuleEvent {
        let mut line = String::new();
        if !matches!(self.report.read_line(&mut line), Ok(1..)) {
            return CapsuleEvent::Gone;
        }
        let mut words = line.split_whitespace().skip(1).map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(pid)), Some(Ok(status))) => CapsuleEvent::Exited { pid, status },
            _ => CapsuleEvent::Gone,
        }
    }

    /// Ends every process in the capsule and waits until they are gone.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Capsule {
    fn drop(&mut self) {
        // The init is this process's child and not yet waited for, so the pid is still its own.
        let _ = kill(self.init, Signal::SIGKILL);
        while waitpid(self.init, None) == Err(Errno::EINTR) {}
    }
}

fn all_trees(spec: &CapsuleSpec) -> Vec<TreeSpec> {
    let reaper = PrivateCopy { from: spec.reaper.clone(), name: REAPER.into(), uid: 0, gid: 0, mode: 0o755 };
    let copies = if spec.fresh { vec![reaper] } else { Vec::new() };
    let own = TreeSpec { mount_point: CAPSULE_DIR.into(), mode: 0o755, uid: 0, gid: 0, copies };
    let mut trees = spec.trees.clone();
    trees.push(own);
    if !spec.fresh {
        for tree in &mut trees {
            tree.copies.clear();
        }
    }
    trees
}

fn wait_until_ready(report: &mut BufReader<File>) -> Result<i32, CapsuleError> {
    let (mut init, mut ready) = (None, false);
    loop {
        let mut line = String::new();
        let read = report.read_line(&mut line).map_err(io_error("hear from the capsule"))?;
        match line.trim_end().split_once(' ') {
            _ if read == 0 => return Err(CapsuleError::Maker("it ended without a word".into())),
            Some(("pid", pid)) => init = pid.parse().ok(),
            Some((_, message)) => return Err(CapsuleError::Maker(message.into())),
            None => ready = true,
        }
        if let (Some(init), true) = (init, ready) {
            return Ok(init);
        }
    }
}

fn open_namespaces(init: Pid) -> Result<Namespaces, CapsuleError> {
    let open = |name: &str| {
        let path = format!("/proc/{init}/ns/{name}");
        OpenOptions::new().read(true).open(&path).map(OwnedFd::from).map_err(io_error(format!("open {path}")))
    };
    Ok(Namespaces { pid: open("pid")?, mount: open("mnt")?, net: open("net")? })
}
