//! Starting helper processes from the shepherd: with chosen descriptors, no blocked signals, and never
//! outliving their parent.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the command's process keep these descriptors under their present numbers, unblocks its signals, and
/// has the kernel kill it when the thread that starts it ends.
pub fn prepare<'a>(command: &'a mut Command, keep: &[BorrowedFd<'_>]) -> &'a mut Command {
    let keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    let before_exec = move || {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        set_pdeathsig(Signal::SIGKILL)?;
        for &fd in &keep {
            // SAFETY: the caller holds these descriptors open until the command is spawned.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: only system calls that are async-signal-safe run between fork and exec; nothing allocates.
    unsafe { command.pre_exec(before_exec) }
}
