//! Running a program inside a capsule, under a chosen identity.

use crate::namespaces::Namespaces;
use crate::{entry, spawn};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, fork, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// As whom a program runs in the capsule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// As root.
    Root,
    /// With root's effective ids but the user's *real* ids: where CAP_SYS_RESOURCE is missing, prlimit(2) on
    /// the user's processes is allowed only to a caller whose real ids are theirs, and CRIU's dump needs it.
    RootActingFor {
        /// The user's uid.
        uid: u32,
        /// The user's gid.
        gid: u32,
    },
    /// As the user, with nothing of root left.
    User {
        /// The user's uid.
        uid: u32,
        /// The user's gid.
        gid: u32,
        /// The user's supplementary groups.
        groups: Vec<u32>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnterOrder {
    pid_ns: RawFd,
    mount_ns: RawFd,
    net_ns: RawFd,
    identity: Identity,
    argv: Vec<String>,
}

/// The command that runs `argv` inside these namespaces; its exit code is the program's.
///
/// `keep` are descriptors that the program inherits under their numbers.
pub(crate) fn command(
    helper: &Path,
    namespaces: &Namespaces,
    identity: &Identity,
    argv: &[impl AsRef<OsStr>],
    keep: &[BorrowedFd<'_>],
) -> Command {
    let [pid_ns, mount_ns, net_ns] = namespaces.fds();
    let order = EnterOrder {
        pid_ns: pid_ns.as_raw_fd(),
        mount_ns: mount_ns.as_raw_fd(),
        net_ns: net_ns.as_raw_fd(),
        identity: identity.clone(),
        argv: argv.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect(),
    };
    let mut command = Command::new(helper);
    command.args([entry::ENTER, &entry::argument(&order)]).current_dir("/");
    let all: Vec<BorrowedFd<'_>> = namespaces.fds().into_iter().chain(keep.iter().copied()).collect();
    spawn::prepare(&mut command, &all);
    command
}

/// The helper's work.
pub(crate) fn run(order: &EnterOrder) -> Result<ExitCode, String> {
    let joins = [
        (order.pid_ns, CloneFlags::CLONE_NEWPID, "pid"),
        (order.net_ns, CloneFlags::CLONE_NEWNET, "network"),
        (order.mount_ns, CloneFlags::CLONE_NEWNS, "mount"),
    ];
    for (fd, kind, name) in joins {
        // SAFETY: the descriptors were passed to this process for this purpose and stay open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        setns(fd, kind).map_err(|errno| format!("cannot enter the capsule's {name} namespace: {errno}"))?;
        close_on_exec(fd)?;
    }
    // SAFETY: this helper is single-threaded.
    match unsafe { fork() }.map_err(|errno| format!("cannot fork into the capsule: {errno}"))? {
        ForkResult::Child => Err(execute(order)),
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(ExitCode::from(code as u8)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(ExitCode::from(128 + signal as u8)),
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(format!("cannot wait for {}: {errno}", order.argv[0])),
            }
        },
    }
}

fn close_on_exec(fd: BorrowedFd<'_>) -> Result<(), String> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop).map_err(|errno| errno.to_string())
}

/// Becomes the program; returns only the reason why not.
fn execute(order: &EnterOrder) -> String {
    if let Err(errno) = set_pdeathsig(Signal::SIGKILL).and_then(|()| assume(&order.identity)) {
        return format!("cannot become {:?}: {errno}", order.identity);
    }
    let error = Command::new(&order.argv[0]).args(&order.argv[1..]).exec();
    format!("cannot run {}: {error}", order.argv[0])
}

fn assume(identity: &Identity) -> nix::Result<()> {
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    match identity {
        Identity::Root => Ok(()),
        Identity::RootActingFor { uid, gid } => {
            setresgid(Gid::from_raw(*gid), root.1, root.1)?;
            setresuid(Uid::from_raw(*uid), root.0, root.0)
        }
        Identity::User { uid, gid, groups } => {
            let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
            let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            setgroups(&groups)?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)
        }
    }
}
