//! Holding processes still for a moment, unseen by them, while others come to rest.
//!
//! A server that loses its browsers must notice before it is handed the next message for them. So whatever could
//! produce one is stopped by ptrace(2), which unlike SIGSTOP no parent and no shell sees, until the server has
//! dealt with what it had. If this process dies, the kernel lets all of them go on.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a thread may take to stop; one in an uninterruptible wait produces nothing either.
const STOP_TIMEOUT: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1);
/// How many times in a row all threads must be found asleep.
const ASLEEP_TIMES: u32 = 4;

/// Threads that are held until this is dropped.
pub(crate) struct Hushed(Vec<Pid>);

impl Hushed {
    /// Holds every process of this pid namespace but its init, this one, and these.
    pub fn all_but(awake: &BTreeSet<i32>) -> Self {
        let own = std::process::id() as i32;
        let mut held = Self(Vec::new());
        for pid in numbers("/proc").filter(|pid| *pid != 1 && *pid != own && !awake.contains(pid)) {
            for thread in numbers(&format!("/proc/{pid}/task")).map(Pid::from_raw) {
                if ptrace::seize(thread, ptrace::Options::empty()).is_ok() {
                    held.0.push(thread);
                    let _ = ptrace::interrupt(thread);
                }
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for thread in &held.0 {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            while waitpid(*thread, Some(flags)).is_ok_and(|status| status.pid().is_none())
                && Instant::now() < deadline
            {
                sleep(PAUSE);
            }
        }
        held
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        for thread in &self.0 {
            let _ = ptrace::detach(*thread, None);
        }
    }
}

/// Waits until all threads of these processes sleep, and go on to.
pub(crate) fn settle(pids: &BTreeSet<i32>, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    let mut times = 0;
    while times < ASLEEP_TIMES && Instant::now() < deadline {
        times = if pids.iter().all(|pid| is_asleep(*pid)) { times + 1 } else { 0 };
        sleep(PAUSE);
    }
}

fn is_asleep(pid: i32) -> bool {
    numbers(&format!("/proc/{pid}/task")).all(|thread| {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
        // proc_pid_stat(5): the state follows the name, which may itself have parentheses.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| !rest.starts_with(['R', 'D']))
    })
}

fn numbers(folder: &str) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
