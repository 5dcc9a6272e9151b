//! Signals as events.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// The signal with which `stasis checkpoint` asks for a checkpoint: SIGRTMIN+6, which no shell script uses.
pub const REQUEST: i32 = 40;

/// Every signal of this process, blocked and readable.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks all signals but those of the process's own faults. Must be called before any thread is started.
    pub fn block() -> nix::Result<Self> {
        let mut all = SigSet::all();
        for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT] {
            all.remove(fault);
        }
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
        Ok(Self(SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Readable when a signal has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next signal that has come.
    pub fn next(&self) -> Option<i32> {
        self.0.read_signal().ok().flatten().map(|info| info.ssi_signo as i32)
    }
}
