//! The capsule's maker and its pid 1.
//!
//! The maker unshares the namespaces, mounts what is private, and forks the init as a child of its own parent
//! (the shepherd), so that the shepherd can wait for it. The init reaps, and reports the end of its children:
//! the session's root is always one of them, whether it was started here or brought back by CRIU.
//! The init holds nothing worth stealing: no key, no descriptor but /dev/null and the report pipe.

use crate::{CAPSULE_DIR, resolver};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, chown, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file that is copied into a private folder: Slurm's scripts are limited to 4 MiB by default.
const COPY_BYTES_MAX: u64 = 64 << 20;

/// A folder that is private to the capsule: a tmpfs over whatever the node has there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeSpec {
    /// Where the capsule sees it; must exist on the node.
    pub mount_point: PathBuf,
    /// Permission bits of the folder.
    pub mode: u32,
    /// Owner of the folder.
    pub uid: u32,
    /// Group of the folder.
    pub gid: u32,
    /// Files copied into it from the node before it is mounted over.
    pub copies: Vec<PrivateCopy>,
}

/// A file copied into a private folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrivateCopy {
    /// The node's file: a regular file of `uid`, never reached through a final symbolic link.
    pub from: PathBuf,
    /// Name in the folder.
    pub name: String,
    /// Who must own the file, and will own the copy.
    pub uid: u32,
    /// Group of the copy.
    pub gid: u32,
    /// Permission bits of the copy.
    pub mode: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitOrder {
    pub trees: Vec<TreeSpec>,
    pub last_pid: Option<i32>,
    pub tty_gid: u32,
    pub report_fd: RawFd,
}

/// The maker's work.
pub(crate) fn run(order: &InitOrder) -> Result<ExitCode, String> {
    // SAFETY: the descriptor was passed to this process for this purpose and is used nowhere else.
    let mut report = unsafe { File::from_raw_fd(order.report_fd) };
    let result = make(order, &mut report);
    if let Err(message) = &result {
        let _ = say(&mut report, &format!("failed {message}"));
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn make(order: &InitOrder, report: &mut File) -> Result<(), String> {
    let copies = read_copies(&order.trees)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)
        .map_err(|errno| format!("cannot create namespaces: {errno}"))?;
    // Mounts of the node still arrive inside (automounted homes), none travels out.
    bind("none", "/", MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    mount_devpts(order.tty_gid)?;
    for tree in &order.trees {
        mount_tree(tree)?;
    }
    for (path, copy, bytes) in &copies {
        write_copy(path, copy, bytes)?;
    }
    give_resolver()?;
    loopback_up()?;
    let init = fork_as_sibling()?;
    if init == 0 {
        std::process::exit(become_init(order, report));
    }
    say(report, &format!("pid {init}"))
}

/// Reports a line. In one write, since the maker and the init report into one pipe.
fn say(report: &mut File, line: &str) -> Result<(), String> {
    report.write_all(format!("{line}\n").as_bytes()).map_err(|error| format!("cannot report: {error}"))
}

fn bind(source: &str, target: &str, flags: MsFlags) -> Result<(), String> {
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .map_err(|errno| format!("cannot mount {target}: {errno}"))
}

fn mount_devpts(tty_gid: u32) -> Result<(), String> {
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={tty_gid}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, Some(options.as_str()))
        .map_err(|errno| format!("cannot mount /dev/pts: {errno}"))?;
    bind("/dev/pts/ptmx", "/dev/ptmx", MsFlags::MS_BIND)
}

fn mount_tree(tree: &TreeSpec) -> Result<(), String> {
    let target = tree.mount_point.as_path();
    fs::create_dir_all(target).map_err(|error| format!("cannot create {}: {error}", target.display()))?;
    let options = format!("mode={:o},uid={},gid={}", tree.mode, tree.uid, tree.gid);
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .map_err(|errno| format!("cannot mount {}: {errno}", target.display()))
}

type Copies<'a> = Vec<(&'a Path, &'a PrivateCopy, Vec<u8>)>;

/// Reads what is to be copied while it can still be seen. The folder may belong to the user, so nothing in it
/// is trusted: no links, no foreign owner, nothing but regular files.
fn read_copies(trees: &[TreeSpec]) -> Result<Copies<'_>, String> {
    let mut copies = Vec::new();
    for (tree, copy) in trees.iter().flat_map(|tree| tree.copies.iter().map(move |copy| (tree, copy))) {
        let say = |what: &str| format!("cannot copy {}: {what}", copy.from.display());
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&copy.from);
        let file = file.map_err(|error| say(&error.to_string()))?;
        let facts = file.metadata().map_err(|error| say(&error.to_string()))?;
        if !facts.is_file() || facts.uid() != copy.uid || facts.len() > COPY_BYTES_MAX {
            return Err(say("not a regular file of its owner, or too large"));
        }
        let mut bytes = Vec::new();
        file.take(COPY_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| say(&error.to_string()))?;
        copies.push((tree.mount_point.as_path(), copy, bytes));
    }
    Ok(copies)
}

fn write_copy(folder: &Path, copy: &PrivateCopy, bytes: &[u8]) -> Result<(), String> {
    let path = folder.join(&copy.name);
    fs::write(&path, bytes)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(copy.mode)))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    chown(&path, Some(Uid::from_raw(copy.uid)), Some(Gid::from_raw(copy.gid)))
        .map_err(|errno| format!("cannot chown {}: {errno}", path.display()))
}

/// Puts the capsule's own resolv.conf over the node's, where it has to differ.
fn give_resolver() -> Result<(), String> {
    const NODES: &str = "/etc/resolv.conf";
    let Some(text) = fs::read_to_string(NODES).ok().and_then(|text| resolver::for_capsule(&text)) else {
        return Ok(());
    };
    let own = Path::new(CAPSULE_DIR).join("resolv.conf");
    fs::write(&own, text).map_err(|error| format!("cannot write {}: {error}", own.display()))?;
    bind(&own.display().to_string(), NODES, MsFlags::MS_BIND)
}

/// Brings up 127.0.0.1, which a new network namespace has but does not start.
fn loopback_up() -> Result<(), String> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| format!("cannot open a socket: {errno}"))?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call, and SIOCSIFFLAGS reads an ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    nix::Error::result(result).map(drop).map_err(|errno| format!("cannot bring up lo: {errno}"))
}

/// Forks a child whose parent is this process's parent. Returns 0 in the child.
fn fork_as_sibling() -> Result<i32, String> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork; the helper is single-threaded, so no lock can be held by a thread
    // that the child does not have. A null stack means the child goes on with a copy of this one.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    nix::Error::result(pid)
        .map(|pid| pid as i32)
        .map_err(|errno| format!("cannot fork the capsule's init: {errno}"))
}

fn become_init(order: &InitOrder, report: &mut File) -> i32 {
    match prepare_init(order).and_then(|()| say(report, "ready")) {
        Ok(()) => reap(report),
        Err(message) => {
            let _ = say(report, &format!("failed {message}"));
            1
        }
    }
}

fn prepare_init(order: &InitOrder) -> Result<(), String> {
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| format!("cannot tie init to the shepherd: {errno}"))?;
    let _ = setsid();
    let _ = set_name(c"stasis-init");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .map_err(|errno| format!("cannot mount /proc: {errno}"))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| format!("cannot open /dev/null: {error}"))?;
    let dup = dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null));
    dup.map_err(|errno| format!("cannot redirect: {errno}"))?;
    if let Some(last_pid) = order.last_pid {
        // Everything that runs here from now on gets pids above, so that those of the image are free.
        fs::write("/proc/sys/kernel/ns_last_pid", last_pid.to_string())
            .map_err(|error| format!("cannot set ns_last_pid: {error}"))?;
    }
    std::env::set_current_dir("/").map_err(|error| error.to_string())
}

/// Reaps for ever. Ends only when nobody listens any more; the kernel then ends the whole capsule.
fn reap(report: &mut File) -> i32 {
    let child_ended = SigSet::from(Signal::SIGCHLD);
    // Blocked, the signal is kept for `wait` even though it would be ignored by default.
    let _ = child_ended.thread_block();
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call. The raw status is passed on as it is.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            pid @ 1.. if say(report, &format!("exit {pid} {status}")).is_err() => return 1,
            1.. => {}
            _ => drop(child_ended.wait()),
        }
    }
}
