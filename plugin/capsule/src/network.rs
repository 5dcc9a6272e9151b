//! The capsule's network: pasta joins it to the node's, under an address that is the same on every node.

use crate::enter::{self, Identity};
use crate::{Capsule, entry, resolver, spawn};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Address of every session inside its capsule.
pub const ADDRESS: &str = "10.0.2.15";
const GATEWAY: &str = "10.0.2.2";
const INTERFACE: &str = "cap0";
/// How long pasta may take to set up the interface.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often another port of the node is tried when somebody else was faster to take one.
const ATTEMPTS: usize = 5;

/// Why a capsule could not be joined to the node's network.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// pasta ended instead of serving.
    #[error("pasta ended: {0}")]
    Pasta(String),
    /// pasta did not set up the interface in time.
    #[error("pasta did not bring up the session's network within {} s", READY_TIMEOUT.as_secs())]
    Timeout,
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Io { what, source }
}

/// A port of the session and the node's port that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMap {
    /// Port inside the capsule.
    pub inside: u16,
    /// Port on the node.
    pub outside: u16,
}

/// The running pasta of one capsule. Dropping it cuts the session off.
#[derive(Debug)]
pub struct Network {
    pasta: Child,
    netns_file: PathBuf,
    /// Which of the node's ports lead where; empty when every port that the session binds is forwarded under
    /// its own number.
    pub ports: Vec<PortMap>,
}

/// Ends the session's connections to the outside, so that it has noticed before it is frozen. A session that is not
/// frozen after all finds its browsers back within seconds.
pub fn hang_up(capsule: &Capsule) {
    let argv = [capsule.helper().as_os_str(), OsStr::new(entry::HANG_UP)];
    let mut command = enter::command(capsule.helper(), capsule.namespaces(), &Identity::Root, &argv, &[]);
    // Best effort: at worst a message is lost, and a session that is not saved loses all of them.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Gives this process a mount namespace of its own, so that its bind mounts end with it, whatever happens.
///
/// # Errors
/// When the kernel refuses.
pub fn own_mount_namespace() -> Result<(), NetworkError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| io_error("unshare mounts")(errno.into()))?;
    mount(Some("none"), "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|errno| io_error("keep mounts to itself")(errno.into()))
}

impl Network {
    /// Joins the capsule to the node's network. `state` is a folder that only root can enter.
    ///
    /// A port is offered under its own number on the node if that is free, else under another.
    ///
    /// # Errors
    /// When pasta is missing, fails, or does not become ready.
    pub fn join(pasta: &Path, capsule: &Capsule, state: &Path, ports: &[u16]) -> Result<Self, NetworkError> {
        let netns_file = state.join("netns");
        bind_namespace(capsule, &netns_file)?;
        let mut last = NetworkError::Timeout;
        for _ in 0..ATTEMPTS {
            let maps = choose_ports(ports).map_err(io_error("find a free port"))?;
            match start(pasta, capsule, &netns_file, &maps) {
                Ok(pasta) => return Ok(Self { pasta, netns_file, ports: maps }),
                Err(error) => last = error,
            }
        }
        let _ = umount2(&netns_file, MntFlags::MNT_DETACH);
        Err(last)
    }
}

impl Network {
    /// Which ports lead where, as `ports 8888:40123,6006:6006`; `None` when every port is forwarded as it is.
    pub fn describe(&self) -> Option<String> {
        let maps: Vec<String> =
            self.ports.iter().map(|map| format!("{}:{}", map.inside, map.outside)).collect();
        (!maps.is_empty()).then(|| format!("ports {}", maps.join(",")))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.pasta.kill();
        let _ = self.pasta.wait();
        let _ = umount2(&self.netns_file, MntFlags::MNT_DETACH);
    }
}

/// pasta drops its privileges before it opens the namespace, so it needs a path that it may open still.
fn bind_namespace(capsule: &Capsule, file: &Path) -> Result<(), NetworkError> {
    File::create(file).map_err(io_error(format!("create {}", file.display())))?;
    let source = format!("/proc/self/fd/{}", capsule.namespaces().fds()[2].as_raw_fd());
    mount(Some(source.as_str()), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| io_error(format!("mount {}", file.display()))(errno.into()))
}

fn choose_ports(ports: &[u16]) -> io::Result<Vec<PortMap>> {
    // All stay bound until all are chosen, so that no two get the same.
    let mut bound = Vec::new();
    for &inside in ports {
        let listener =
            TcpListener::bind(("0.0.0.0", inside)).or_else(|_| TcpListener::bind(("0.0.0.0", 0)))?;
        bound.push((PortMap { inside, outside: listener.local_addr()?.port() }, listener));
    }
    Ok(bound.into_iter().map(|(map, _)| map).collect())
}

fn start(pasta: &Path, capsule: &Capsule, netns: &Path, maps: &[PortMap]) -> Result<Child, NetworkError> {
    let forward: Vec<String> = maps.iter().map(|map| format!("{}:{}", map.outside, map.inside)).collect();
    let forward = if forward.is_empty() { "auto".to_owned() } else { forward.join(",") };
    let mut command = Command::new(pasta);
    command
        .args(["--foreground", "--quiet", "--runas", "0", "--ipv4-only", "--netns-only", "--config-net"])
        .args(["--ns-ifname", INTERFACE, "--address", ADDRESS, "--netmask", "24", "--gateway", GATEWAY])
        .args(["--dns-forward", resolver::FORWARDED])
        .args([
            "--tcp-ports",
            &forward,
            "--udp-ports",
            "none",
            "--tcp-ns",
            "none",
            "--udp-ns",
            "none",
            "--netns",
        ])
        .arg(netns)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let started = spawn::prepare(&mut command, &[]).spawn();
    let child = started.map_err(io_error(format!("run {}", pasta.display())))?;
    wait_for_route(child, capsule)
}

fn wait_for_route(mut child: Child, capsule: &Capsule) -> Result<Child, NetworkError> {
    let route = format!("/proc/{}/net/route", capsule.init_pid());
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if fs::read_to_string(&route).is_ok_and(|table| table.contains(INTERFACE)) {
            return Ok(child);
        }
        if child.try_wait().map_err(io_error("wait for pasta"))?.is_some() {
            let mut message = String::new();
            let _ = child.stderr.take().map(|stderr| stderr.take(16 << 10).read_to_string(&mut message));
            return Err(NetworkError::Pasta(message.trim().to_owned()));
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(NetworkError::Timeout);
        }
        sleep(Duration::from_millis(2));
    }
}
