//! The root of a session's process tree inside its capsule.
//!
//! Programs that daemonise leave their parent behind. Were they adopted by the capsule's init, which is not
//! part of a checkpoint, they would be lost; as a child subreaper this program adopts them instead, so that
//! the tree which CRIU dumps is whole. It is part of every image, and therefore small, free of threads, and
//! run from a private copy that travels in the image, so that upgrading Stasis breaks no image.
//!
//! `stasis-reaper PID` waits for its child PID (the batch script) and ends as that child ended.

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use std::process::exit;

/// What a shell says of a command that it could not run; used when the arguments make no sense.
const EXIT_USAGE: i32 = 127;

fn main() {
    let Some(script) = std::env::args().nth(1).and_then(|pid| pid.parse().ok()).map(Pid::from_raw) else {
        exit(EXIT_USAGE)
    };
    ignore_signals();
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == script => exit(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == script => die_of(signal),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => exit(EXIT_USAGE),
        }
    }
}

/// Slurm signals every process of a job. The script decides what a signal means, so this program must
/// outlive all of them but SIGKILL to report how the script ended.
fn ignore_signals() {
    for signal in Signal::iterator() {
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGCHLD) {
            // SAFETY: SigIgn installs no handler, so nothing runs in signal context.
            let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) };
        }
    }
}

/// Ends this process by the same signal, so that Slurm sees what it would have seen of the script.
fn die_of(signal: Signal) -> ! {
    // The script has left its core file, if it was to leave one; a second one would overwrite it.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: SigDfl installs no handler.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let _ = raise(signal);
    exit(128 + signal as i32)
}
