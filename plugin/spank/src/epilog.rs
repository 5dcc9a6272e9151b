//! After a job, on its node: starts what must outlive the job.
//!
//! A requeued job waits two minutes in the queue unless somebody lifts its start time, and that works only once
//! it is pending, which is after the epilog. So the epilog starts a detached process for it.

use crate::boundary::HookResult;
use crate::config::site;
use nix::unistd::{fork, setsid, ForkResult};
use std::process::{Command, Stdio};

/// Starts `stasis-shepherd after JOB` if the job was Stasis's.
pub(crate) fn run(job_id: u32) -> HookResult {
    let site = site();
    let state = site.state.join(format!("job-{job_id}"));
    if !state.is_dir() {
        return Ok(());
    }
    // SAFETY: slurmd runs the epilog's hooks in a process of their own with one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None)?;
            Ok(())
        }
        ForkResult::Child => {
            let _ = setsid();
            let mut command = Command::new(site.libexec.join("stasis-shepherd"));
            command.args(["after", &job_id.to_string()]);
            command.arg(serde_json::to_string(site).unwrap_or_default());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let code = i32::from(command.spawn().is_err());
            // SAFETY: _exit(2) takes a plain number and does not return.
            unsafe { libc::_exit(code) }
        }
    }
}
