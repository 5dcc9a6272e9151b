//! A cluster as a whole: `up`, `down`, and finding one that runs.
//!
//! What holds it together is a process, the *chassis*: pid 1 of the cluster's pid namespace, in which those of
//! the nodes are nested, and holder of the network namespace with the bridge between them. No mount, namespace
//! or cable of a cluster is pinned anywhere else, so when the chassis dies, all of it is gone; its cgroups, one
//! folder and the nodes' disks are what is left to remove.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::cgroups::{CHASSIS, CHASSIS_DEPTH, Cgroups};
use crate::command::{Output, on_path, run};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::spec::{ClusterSpec, InstallFile, check_name};
use crate::state::{Folder, State, read_for_install};
use crate::wait::{wait_for, wait_until};
use crate::{config, image, require_root};

const BOOT_SCRIPT: &str = include_str!("scripts/boot.sh");
const CHASSIS_TIMEOUT: Duration = Duration::from_secs(15);
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);
const HOST_TOOLS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("setpriv", "util-linux"),
    ("pivot_root", "util-linux"),
    ("mount", "mount"),
];

/// A running cluster. Dropping one that [`Cluster::up`] booted takes it down, unless the environment has
/// `STASIS_TESTBED_KEEP=1` or [`Cluster::keep`] was called.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) state: State,
    pub(crate) folder: Folder,
    pub(crate) cgroups: Cgroups,
    down_on_drop: bool,
}

impl Cluster {
    /// Boots a cluster and waits until Slurm calls all its nodes idle. The node image is built first if needed.
    ///
    /// # Errors
    /// When it does not come up; then what was made of it is removed again.
    pub fn up(spec: ClusterSpec) -> Result<Self> {
        require_root()?;
        require_tools()?;
        spec.check()?;
        let image = image::ensure()?;
        let folder = Folder::of(&spec.name);
        let cgroups = Cgroups::of(&folder.id(&spec.name))?;
        let state = folder.claim(spec, image)?;
        // From here on dropping it removes it, whatever fails.
        let keep = std::env::var_os("STASIS_TESTBED_KEEP").is_some_and(|value| value == "1");
        let cluster = Self { state, folder, cgroups, down_on_drop: !keep };
        cluster.boot()?;
        Ok(cluster)
    }

    /// A cluster that is up already. Dropping it leaves it up.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn attach(name: &str) -> Result<Self> {
        require_root()?;
        check_name(name)?;
        let folder = Folder::of(name);
        let no_cluster = |_| Error::NoCluster { name: name.to_owned(), folder: folder.path().to_owned() };
        let state = folder.state().map_err(no_cluster)?;
        let cgroups = Cgroups::of(&folder.id(name))?;
        Ok(Self { state, folder, cgroups, down_on_drop: false })
    }

    /// Leaves the cluster up when this is dropped.
    pub fn keep(&mut self) {
        self.down_on_drop = false;
    }

    /// Takes the cluster down: no process, mount, namespace, link, cgroup or file of it is left.
    ///
    /// # Errors
    /// When something could not be removed; the error names it.
    pub fn down(mut self) -> Result<()> {
        self.down_on_drop = false;
        down(&self.state.spec.name)
    }

    /// What the cluster was asked to be.
    pub fn spec(&self) -> &ClusterSpec {
        &self.state.spec
    }

    /// The cluster's folder on the host.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Where the host has what the nodes see as `/home`.
    pub fn host_dir_home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Where the host has what the nodes see as `/shared`.
    pub fn host_dir_shared(&self) -> PathBuf {
        self.folder.join("shared")
    }

    /// A node: `ctl`, or a compute node `n1`, `n2`, ...
    ///
    /// # Errors
    /// When the cluster has none of this name.
    pub fn node(&self, name: &str) -> Result<Node<'_>> {
        let nodes = self.state.spec.node_names();
        match nodes.iter().position(|node| node == name) {
            Some(index) => Ok(Node::new(self, name.to_owned(), index)),
            None => {
                Err(Error::NoNode { cluster: self.state.spec.name.clone(), node: name.to_owned(), nodes })
            }
        }
    }

    /// All nodes, the controller first.
    pub fn nodes(&self) -> Vec<Node<'_>> {
        let names = self.state.spec.node_names().into_iter().enumerate();
        names.map(|(index, name)| Node::new(self, name, index)).collect()
    }

    /// A node's address, which the host reaches too.
    ///
    /// # Errors
    /// When the cluster has no such node.
    pub fn ip(&self, node: &str) -> Result<Ipv4Addr> {
        Ok(self.node(node)?.ip())
    }

    /// Runs a command on a node to its end: see [`Node::exec`].
    ///
    /// # Errors
    /// When there is no such node, or it is down. A command that fails is no error: look at its status.
    pub fn exec(&self, node: &str, user: &str, argv: &[&str]) -> Result<Output> {
        self.node(node)?.exec(user, argv)
    }

    /// Starts a command on a node: see [`Node::spawn`].
    ///
    /// # Errors
    /// When there is no such node, or it is down.
    pub fn spawn(&self, node: &str, user: &str, argv: &[&str]) -> Result<Child> {
        self.node(node)?.spawn(user, argv)
    }

    /// Takes a node's power away: see [`Node::kill`].
    ///
    /// # Errors
    /// When there is no such node, or something of it would not die.
    pub fn kill(&self, node: &str) -> Result<()> {
        self.node(node)?.kill()
    }

    /// Boots a node again: see [`Node::start`].
    ///
    /// # Errors
    /// When there is no such node, it is up, or it does not boot.
    pub fn start(&self, node: &str) -> Result<()> {
        self.node(node)?.start()
    }

    /// Pulls a node's network cable.
    ///
    /// # Errors
    /// When there is no such node, or it is down.
    pub fn cut(&self, node: &str) -> Result<()> {
        self.node(node)?.cut()
    }

    /// Puts a node's network cable back.
    ///
    /// # Errors
    /// When there is no such node, or it is down.
    pub fn heal(&self, node: &str) -> Result<()> {
        self.node(node)?.heal()
    }

    /// Installs a file of the host into every node, replacing it at once where it is there. Nodes that are down
    /// get it when they start.
    ///
    /// # Errors
    /// When the file cannot be read or a node cannot write it.
    pub fn install(&self, file: &InstallFile) -> Result<()> {
        let (content, mode) = read_for_install(file)?;
        self.install_content(&content, &file.to, mode)
    }

    /// [`Cluster::install`] for content that is in no file.
    ///
    /// # Errors
    /// When a node cannot write it.
    pub fn install_content(&self, content: &[u8], to: &Path, mode: u32) -> Result<()> {
        let number = self.folder.stage(content, to, mode)?;
        for node in self.nodes().iter().filter(|node| node.is_up()) {
            node.write_file(to, mode, content)?;
            self.folder.note_installed(node.name(), number)?;
        }
        Ok(())
    }

    /// What is up, and what Slurm thinks of it.
    pub fn status(&self) -> Status {
        let slurm = self.slurm_states().unwrap_or_default();
        let nodes = self.nodes().into_iter().map(|node| NodeStatus {
            up: node.is_up(),
            connected: node.is_connected(),
            ip: node.ip(),
            init_pid: node.init().ok(),
            slurm: slurm.iter().find(|(name, _)| name == node.name()).map(|(_, state)| state.clone()),
            name: node.name().to_owned(),
        });
        Status {
            name: self.state.spec.name.clone(),
            dir: self.folder.path().to_owned(),
            home: self.host_dir_home(),
            shared: self.host_dir_shared(),
            image: self.state.image.clone(),
            host_ip: self.state.subnet.host(),
            nodes: nodes.collect(),
        }
    }

    /// Each compute node's state as sinfo tells it: `idle`, `mixed`, `down*`, ...
    ///
    /// # Errors
    /// When the controller is down or does not answer.
    pub fn slurm_states(&self) -> Result<Vec<(String, String)>> {
        let output = self.exec("ctl", "root", &["sinfo", "-h", "-N", "-o", "%N %T"])?.checked("ask sinfo")?;
        let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.trim().to_owned()));
        let mut states: Vec<_> = output.stdout.lines().filter_map(pair).collect();
        states.dedup(); // A node is listed once for each partition.
        Ok(states)
    }

    /// Waits until Slurm calls all compute nodes idle.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the states seen last.
    pub fn wait_idle(&self, timeout: Duration) -> Result<()> {
        wait_until("all nodes to be idle", timeout, || {
            let states = self.slurm_states()?;
            let idle = states.iter().filter(|(_, state)| state == "idle").count();
            if idle == self.state.spec.nodes { Ok(true) } else { Err(Error::Spec(format!("{states:?}"))) }
        })
    }

    /// The host's pid of the chassis' init.
    pub(crate) fn chassis(&self) -> Result<i32> {
        let gone = || Error::Dead { name: self.state.spec.name.clone() };
        self.cgroups.init_of(CHASSIS, CHASSIS_DEPTH).ok_or_else(gone)
    }

    fn boot(&self) -> Result<()> {
        let names = self.state.spec.node_names();
        self.folder.lay_out(&names)?;
        self.stage_all()?;
        for member in names.iter().map(String::as_str).chain([CHASSIS]) {
            self.cgroups.create(member)?;
        }
        self.start_chassis()?;
        let nodes = self.nodes();
        let (controller, compute) = nodes.split_at(1);
        // The controller first: a slurmd that finds none waits before it asks again.
        for node in controller.iter().chain(compute) {
            node.launch()?;
            if node.name() == "ctl" {
                node.wait_booted(BOOT_TIMEOUT)?;
            }
        }
        compute.iter().try_for_each(|node| node.wait_booted(BOOT_TIMEOUT))?;
        self.wait_idle(BOOT_TIMEOUT)
    }

    fn stage_all(&self) -> Result<()> {
        let spec = &self.state.spec;
        let hosts: Vec<_> = self.nodes().iter().map(|node| (node.name().to_owned(), node.ip())).collect();
        let text = [
            ("/etc/hosts", config::hosts(&hosts)),
            ("/etc/slurm/slurm.conf", config::slurm_conf(spec)),
            ("/etc/slurm/cgroup.conf", config::cgroup_conf(self.cgroups.is_v2())),
            ("/etc/slurm/plugstack.conf", config::plugstack_conf(spec)),
        ];
        self.folder.stage(BOOT_SCRIPT.as_bytes(), Path::new("/usr/local/sbin/node-boot"), 0o755)?;
        for (path, content) in text {
            self.folder.stage(content.as_bytes(), Path::new(path), 0o644)?;
        }
        self.folder.stage(&munge_key()?, Path::new("/etc/munge/munge.key"), 0o400)?;
        for file in &spec.install {
            let (content, mode) = read_for_install(file)?;
            self.folder.stage(&content, &file.to, mode)?;
        }
        Ok(())
    }

    fn start_chassis(&self) -> Result<()> {
        let ready = self.folder.join("chassis.ready");
        let log_path = self.folder.join("chassis.log");
        let log = std::fs::File::create(&log_path).map_err(Error::io("make", &log_path))?;
        let errors = log.try_clone().map_err(Error::io("open", &log_path))?;
        // Forked away, so that its end leaves nothing for this program to wait for.
        let status = Command::new("setsid")
            .args(["--fork", "bash"])
            .arg(self.folder.join("chassis.sh"))
            .env("JOIN", self.cgroups.join_at_birth(CHASSIS))
            .env("HOST_LINK", host_link(&self.folder))
            .env("HOST_ADDRESS", format!("{}/24", self.state.subnet.host()))
            .env("READY", &ready)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .current_dir("/")
            .status();
        status.map_err(Error::sys("start the cluster's chassis"))?;
        wait_for("the cluster's switch", CHASSIS_TIMEOUT, || {
            if ready.exists() {
                return self.chassis().map(Some);
            }
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            if said.is_empty() { Ok(None) } else { Err(Error::Spec(said)) }
        })
        .map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.down_on_drop
            && let Err(error) = down(&self.state.spec.name)
        {
            eprintln!("testbed: {error}");
        }
    }
}

/// Takes down whatever there is of the cluster with this name: all of it, what a crash left, or nothing.
///
/// # Errors
/// When something could not be removed; the error names it.
pub fn down(name: &str) -> Result<()> {
    require_root()?;
    check_name(name)?;
    let folder = Folder::of(name);
    let cgroups = Cgroups::of(&folder.id(name))?;
    // Each step whatever became of the one before: the more is gone the better.
    let steps = [cgroups.end(None), remove_link(&host_link(&folder)), folder.remove()];
    let mut remains: Vec<String> = steps.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
    remains.extend(cgroups.existing().iter().map(|path| path.display().to_string()));
    if remains.is_empty() { Ok(()) } else { Err(Error::Remains { name: name.to_owned(), remains }) }
}

/// Takes down the clusters that are called `prefix` and the pid of a process that is gone: it was killed before it could
/// do so itself. What cannot be removed is told on standard error: it is in nobody's way.
pub fn down_abandoned(prefix: &str) {
    let is_dead = |name: &String| {
        let pid = name.strip_prefix(prefix).and_then(|pid| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    for name in Folder::names().into_iter().filter(is_dead) {
        if let Err(error) = down(&name) {
            eprintln!("{name} could not be taken down: {error}");
        }
    }
}

/// The host's end of the cable to the cluster's switch. At most 15 bytes fit.
fn host_link(folder: &Folder) -> String {
    format!("stb-{}", folder.hash())
}

/// Removes a link at once; by itself it goes a moment after its other end's namespace.
fn remove_link(link: &str) -> Result<()> {
    let path = Path::new("/sys/class/net").join(link);
    if path.exists() {
        // Its status says nothing: the link may go by itself in between.
        run(Command::new("ip").args(["link", "del", link]), b"")?;
    }
    wait_until(&format!("the network link {link} to go"), Duration::from_secs(5), || Ok(!path.exists()))
}

fn require_tools() -> Result<()> {
    match HOST_TOOLS.iter().find(|(tool, _)| !on_path(tool)) {
        Some((tool, package)) => {
            Err(Error::MissingTool { tool: (*tool).to_owned(), package: (*package).to_owned() })
        }
        None => Ok(()),
    }
}

fn munge_key() -> Result<[u8; 128]> {
    use std::io::Read;
    let path = "/dev/urandom";
    let mut key = [0; 128];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut key))
        .map_err(Error::io("read", path))?;
    Ok(key)
}

/// What [`Cluster::status`] tells.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The cluster.
    pub name: String,
    /// Its folder on the host.
    pub dir: PathBuf,
    /// The nodes' `/home` on the host.
    pub home: PathBuf,
    /// The nodes' `/shared` on the host.
    pub shared: PathBuf,
    /// The image that its nodes run.
    pub image: PathBuf,
    /// The host's address in the cluster's network.
    pub host_ip: Ipv4Addr,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

/// One node in a [`Status`].
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// The node.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Whether it has power.
    pub up: bool,
    /// Whether its network cable is in.
    pub connected: bool,
    /// The host's pid of its init.
    pub init_pid: Option<i32>,
    /// What Slurm thinks of it; nothing for the controller, or when that is down.
    pub slurm: Option<String>,
}
