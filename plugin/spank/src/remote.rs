//! What happens in slurmstepd and in the batch task that it forks.
//!
//! The task is forked before it is in its cgroup, so it waits at a gate until slurmstepd has put it there; then it
//! splits. The parent, which Slurm watches, signals and waits for, becomes the shepherd. The child goes on through
//! slurmstepd's own path (identity, standard streams, limits) and runs the batch script, inside the capsule that
//! the shepherd has made; or, when the shepherd has restored the session from an image, ends once it has handed
//! over the standard streams that Slurm prepared.

use crate::boundary::HookResult;
use crate::config::site;
use crate::option;
use nix::fcntl::{fcntl, FcntlArg, FdFlag, OFlag};
use nix::sched::{setns, CloneFlags};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::SigSet;
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use nix::unistd::{
    dup2_stderr, dup2_stdin, dup2_stdout, execve, fork, pipe2, read, setgroups, setpgid, setresgid,
    setresuid, setsid, write, ForkResult, Gid, Pid, Uid,
};
use slurm_spank::{spank_log_user, SpankHandle};
use stasis_handover::{receive, send, Handover, DELIVER, JOIN, PIPES, STDIO};
use std::error::Error;
use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Step id of a batch script (slurm.h).
const BATCH_STEP: u32 = 0xffff_fffb;
/// Where the capsule keeps the reaper, see the capsule's crate.
const REAPER: &std::ffi::CStr = c"/run/stasis-capsule/reaper";
/// A session's environment differs from what the user set by this alone.
const SESSION_ENVIRONMENT: [(&str, &str); 2] = [("STASIS", "1"), ("UV_USE_IO_URING", "0")];

/// What the hooks of one slurmstepd keep.
pub(crate) struct Remote {
    gate: Option<(OwnedFd, OwnedFd)>,
    shepherd: Option<OwnedFd>,
    folder: Option<PathBuf>,
    delivers: bool,
}

impl Remote {
    pub(crate) const fn new() -> Self {
        Self { gate: None, shepherd: None, folder: None, delivers: false }
    }

    /// In slurmstepd, before it forks: opens the gate.
    pub(crate) fn prepare(&mut self, spank: &SpankHandle) -> HookResult {
        if option::spec().is_some() && is_batch(spank) {
            self.gate = Some(pipe2(OFlag::O_CLOEXEC)?);
        }
        Ok(())
    }

    /// In slurmstepd, when the task is in its cgroup.
    pub(crate) fn open_gate(&mut self) {
        if let Some((_, write_end)) = self.gate.take() {
            let _ = write(&write_end, b"x");
        }
    }

    /// In the task, as root. Returns in the process that is to run the batch script.
    pub(crate) fn split(&mut self, spank: &mut SpankHandle) -> HookResult {
        let Some((read_end, write_end)) = self.gate.take() else { return Ok(()) };
        drop(write_end);
        let handover = handover(spank)?;
        for (name, value) in SESSION_ENVIRONMENT {
            spank.setenv(name, value, false).or_else(already_set)?;
        }
        let _ = read(&read_end, &mut [0])?;
        drop(read_end);
        let program = site().libexec.join("stasis-shepherd");
        if let Err(error) = nix::unistd::access(&program, nix::unistd::AccessFlags::X_OK) {
            // A session that runs unprotected, and says so, is worth more than one that does not run.
            spank_log_user!(
                "stasis: this session is NOT protected: {} on {}: {error}",
                program.display(),
                handover.node
            );
            return Ok(());
        }
        let (own, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let document = document(&handover)?;
        self.folder = std::env::current_dir().ok();
        // SAFETY: slurmstepd has forked this process, which has one thread.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                drop(own);
                let error = become_shepherd(&program, &document, &theirs, child);
                slurm_spank::spank_log_error!("stasis: cannot run {}: {error}", program.display());
                leave(1)
            }
            ForkResult::Child => {
                drop((theirs, document));
                self.await_orders(own, &handover)
            }
        }
    }

    fn await_orders(&mut self, shepherd: OwnedFd, handover: &Handover) -> HookResult {
        // A shepherd that is gone has been seen by Slurm already: nothing is left to report to.
        let Ok((order, namespaces)) = receive(shepherd.as_fd()) else { leave(1) };
        match order {
            JOIN => join(&namespaces, handover)?,
            DELIVER => self.delivers = true,
            _ => return Err("the shepherd gave an unknown order".into()),
        }
        self.shepherd = Some(shepherd);
        Ok(())
    }

    /// In the task, as the user, with its standard streams as Slurm has set them up.
    pub(crate) fn hand_over_stdio(&mut self) -> HookResult {
        let Some(shepherd) = self.shepherd.take() else { return Ok(()) };
        send(shepherd.as_fd(), STDIO, &[1, 2])?;
        if self.delivers {
            leave(0)
        }
        let (message, pipes) = receive(shepherd.as_fd())?;
        let [out, err] = pipes.as_slice() else { return Err("the shepherd sent no pipes".into()) };
        if message != PIPES {
            return Err("the shepherd sent an unknown message".into());
        }
        dup2_stdout(out)?;
        dup2_stderr(err)?;
        // Entering the capsule's mount namespace has moved this process to its root folder.
        if let Some(folder) = &self.folder {
            let _ = std::env::set_current_dir(folder);
        }
        Ok(())
    }
}

/// Ends this process. Not by `exit`: what slurmstepd registered to run at exit is its own, not this copy's.
fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) takes a plain number and does not return.
    unsafe { libc::_exit(code) }
}

fn is_batch(spank: &SpankHandle) -> bool {
    spank.job_stepid().is_ok_and(|step| step == BATCH_STEP)
}

fn already_set(error: slurm_spank::SpankError) -> Result<(), slurm_spank::SpankError> {
    if matches!(error, slurm_spank::SpankError::EnvExists(_)) {
        Ok(())
    } else {
        Err(error)
    }
}

fn handover(spank: &SpankHandle) -> Result<Handover, Box<dyn Error>> {
    let environment = |name: &str| spank.getenv(name).ok().flatten();
    Ok(Handover {
        cluster: environment("SLURM_CLUSTER_NAME").ok_or("SLURM_CLUSTER_NAME is not set")?,
        node: environment("SLURM_JOB_NODELIST").ok_or("SLURM_JOB_NODELIST is not set")?,
        job_id: spank.job_id()?,
        nodes: environment("SLURM_JOB_NUM_NODES").and_then(|nodes| nodes.parse().ok()).unwrap_or(1),
        uid: spank.job_uid()?,
        gid: spank.job_gid()?,
        groups: spank.job_supplementary_gids()?,
        script: spank.job_argv()?.first().ok_or("the job has no script")?.into(),
        spec: option::spec().ok_or("the job did not ask for Stasis")?,
        site: site().clone(),
    })
}

/// The hand-over document as an anonymous file.
fn document(handover: &Handover) -> Result<OwnedFd, Box<dyn Error>> {
    let mut file = File::from(memfd_create(c"stasis-handover", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(handover)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Runs the shepherd in this process, with two descriptors and nothing of slurmstepd's. Returns only why not.
fn become_shepherd(
    program: &std::path::Path,
    document: &OwnedFd,
    socket: &OwnedFd,
    task: Pid,
) -> Box<dyn Error> {
    let execute = || -> HookResult {
        // The shepherd reads signals; one that comes before it is ready must wait, not kill it.
        SigSet::all().thread_block()?;
        close_all_on_exec();
        for fd in [document, socket] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let words = [
            program.display().to_string(),
            "run".into(),
            document.as_raw_fd().to_string(),
            socket.as_raw_fd().to_string(),
            task.to_string(),
        ];
        let argv = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let mut environment =
            vec![CString::new("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?];
        if let Ok(conf) = std::env::var("SLURM_CONF") {
            environment.push(CString::new(format!("SLURM_CONF={conf}"))?);
        }
        execve(&argv[0].clone(), &argv, &environment)?;
        Ok(())
    };
    execute().err().unwrap_or_else(|| "exec returned".into())
}

fn close_all_on_exec() {
    // SAFETY: close_range(2) with this flag closes nothing now.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Moves this process into the capsule and below the reaper. Returns in the process that runs the batch script.
fn join(namespaces: &[OwnedFd], handover: &Handover) -> HookResult {
    let [pid, mount, net] = namespaces else { return Err("the shepherd sent no namespaces".into()) };
    setns(pid, CloneFlags::CLONE_NEWPID)?;
    setns(net, CloneFlags::CLONE_NEWNET)?;
    setns(mount, CloneFlags::CLONE_NEWNS)?;
    // A pid namespace takes effect for children, so the first fork enters it. Who adopts an orphan is decided by its
    // parent's namespace, so only the second fork's child is adopted by the capsule's init: it becomes the reaper.
    go_on_in_child()?;
    go_on_in_child()?;
    set_child_subreaper(true)?;
    setsid()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            Ok(())
        }
        ForkResult::Parent { child } => {
            let error = become_reaper(child, handover);
            slurm_spank::spank_log_error!("stasis: cannot run the reaper: {error}");
            leave(127)
        }
    }
}

/// Ends this process and returns in a child of it.
fn go_on_in_child() -> HookResult {
    // SAFETY: this process has one thread.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        leave(0)
    }
    Ok(())
}

/// Runs the reaper in this process, as the user and holding nothing. Returns only why not.
fn become_reaper(script: Pid, handover: &Handover) -> Box<dyn Error> {
    let execute = || -> HookResult {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        close_all_on_exec();
        std::env::set_current_dir("/")?;
        let groups: Vec<Gid> = handover.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(handover.uid), Gid::from_raw(handover.gid));
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        let none: [CString; 0] = [];
        execve(REAPER, &[REAPER.to_owned(), CString::new(script.to_string())?], &none)?;
        Ok(())
    };
    execute().err().unwrap_or_else(|| "exec returned".into())
}
