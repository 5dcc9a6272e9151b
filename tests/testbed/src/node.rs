//! One node: its power, its cable, and running commands on it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::cgroups::CHASSIS_DEPTH;
use crate::cluster::Cluster;
use crate::command::{Output, run};
use crate::error::{Error, Result};
use crate::wait::wait_for;

const START_SCRIPT: &str = include_str!("scripts/start.sh");
const ENTER_SCRIPT: &str = include_str!("scripts/enter.sh");
const BOOTED: &str = "run/testbed-booted";
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);

/// A node of a cluster, up or down.
#[derive(Debug)]
pub struct Node<'a> {
    cluster: &'a Cluster,
    name: String,
    index: usize,
}

impl<'a> Node<'a> {
    pub(crate) fn new(cluster: &'a Cluster, name: String, index: usize) -> Self {
        Self { cluster, name, index }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, which the host reaches too.
    pub fn ip(&self) -> Ipv4Addr {
        self.cluster.state.subnet.node(self.index)
    }

    /// Whether it has power.
    pub fn is_up(&self) -> bool {
        self.init().is_ok()
    }

    /// The host's pid of its init.
    ///
    /// # Errors
    /// When the node is down.
    pub fn init(&self) -> Result<i32> {
        self.cluster.cgroups.init_of(&self.name, CHASSIS_DEPTH + 1).ok_or_else(|| self.is_down())
    }

    /// A command that will run on the node: in all its namespaces, as `user`, in that user's home, with a login's
    /// environment and nothing of the caller's. Standard streams and the exit status are the command's own, and
    /// if the caller is killed so is the command.
    ///
    /// # Errors
    /// When the node is down.
    pub fn command(&self, user: &str, argv: &[&str]) -> Result<Command> {
        let mut command = Command::new("bash");
        command
            .args(["-c", ENTER_SCRIPT, "enter", &self.init()?.to_string(), user])
            .args(argv)
            .env("JOIN", self.cluster.cgroups.join_running(&self.name));
        Ok(command)
    }

    /// Runs a command to its end with nothing on its standard input.
    ///
    /// # Errors
    /// When the node is down. A command that fails is no error: look at its status.
    pub fn exec(&self, user: &str, argv: &[&str]) -> Result<Output> {
        self.exec_with(user, argv, b"")
    }

    /// Runs a command to its end with `input` on its standard input.
    ///
    /// # Errors
    /// As [`Node::exec`].
    pub fn exec_with(&self, user: &str, argv: &[&str], input: &[u8]) -> Result<Output> {
        run(&mut self.command(user, argv)?, input)
    }

    /// Starts a command with its output in pipes and nothing on its standard input.
    ///
    /// # Errors
    /// When the node is down.
    pub fn spawn(&self, user: &str, argv: &[&str]) -> Result<Child> {
        let mut command = self.command(user, argv)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(Error::sys(format!("start {argv:?} on {}", self.name)))
    }

    /// Puts a file on the node's disk as root, in one step as its readers see it.
    ///
    /// # Errors
    /// When the node is down or cannot write it.
    pub fn write_file(&self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        const WRITE: &str =
            r#"mkdir -p "$(dirname "$1")"; cat >"$1.new"; chmod "$2" "$1.new"; mv -f "$1.new" "$1""#;
        let (path, mode) = (path.to_string_lossy(), format!("{mode:o}"));
        let argv = ["bash", "-euc", WRITE, "write", &path, &mode];
        self.exec_with("root", &argv, content)?.checked(format!("write {path} on {}", self.name))?;
        Ok(())
    }

    /// A text file of the node.
    ///
    /// # Errors
    /// When the node is down or cannot read it.
    pub fn read_file(&self, path: &Path) -> Result<String> {
        let path = path.to_string_lossy();
        let output = self.exec("root", &["cat", "--", &path])?;
        Ok(output.checked(format!("read {path} on {}", self.name))?.stdout)
    }

    /// Takes its power away: everything on it is gone at once. Its disk stays.
    ///
    /// # Errors
    /// When something of it would not die.
    pub fn kill(&self) -> Result<()> {
        self.cluster.cgroups.end(Some(&self.name))?;
        // By itself the switch's end of the cable goes a moment later, in the way of a start.
        let status = self.switch(&["link", "del", &self.name]);
        status.map(drop)
    }

    /// Boots it again, and waits until its daemons run. Slurm learns of it a moment later.
    ///
    /// # Errors
    /// When it is up already, or does not boot.
    pub fn start(&self) -> Result<()> {
        if self.is_up() {
            return Err(Error::NodeUp { cluster: self.cluster_name(), node: self.name.clone() });
        }
        self.cluster.cgroups.create(&self.name)?;
        self.launch()?;
        self.wait_booted(BOOT_TIMEOUT)
    }

    /// Pulls its network cable.
    ///
    /// # Errors
    /// When it is down.
    pub fn cut(&self) -> Result<()> {
        self.set_cable("down")
    }

    /// Puts its network cable back.
    ///
    /// # Errors
    /// When it is down.
    pub fn heal(&self) -> Result<()> {
        self.set_cable("up")
    }

    /// Whether its network cable is in. False while it is down.
    pub fn is_connected(&self) -> bool {
        let up = ["-o", "link", "show", "dev", &self.name, "up"];
        self.switch(&up).is_ok_and(|output| output.success() && !output.stdout.is_empty())
    }

    /// The logs of its boots and of its daemons, on the host.
    pub fn logs(&self) -> Vec<PathBuf> {
        let dir = self.cluster.folder.node(&self.name);
        let daemon = if self.is_controller() { "slurmctld.log" } else { "slurmd.log" };
        vec![dir.join("boot.log"), dir.join("upper/var/log/slurm").join(daemon)]
    }

    /// Starts its init; [`Node::wait_booted`] waits for its daemons.
    pub(crate) fn launch(&self) -> Result<()> {
        let (cluster, subnet) = (self.cluster, self.cluster.state.subnet);
        let mut command = Command::new("bash");
        command
            .args(["-c", START_SCRIPT])
            .env("JOIN", cluster.cgroups.join_at_birth(&self.name))
            .env("CHASSIS", cluster.chassis()?.to_string())
            .env("MONOTONIC_S", clock_s(ClockId::CLOCK_MONOTONIC)?)
            .env("BOOTTIME_S", clock_s(ClockId::CLOCK_BOOTTIME)?)
            .env("NODE_SCRIPT", cluster.folder.join("node.sh"))
            .env("NODE", &self.name)
            .env("NODE_DIR", cluster.folder.node(&self.name))
            .env("IMAGE", &cluster.state.image)
            .env("HOME_DIR", cluster.host_dir_home())
            .env("SHARED_DIR", cluster.host_dir_shared())
            .env("STAGED_DIR", cluster.folder.join("staged"))
            .env("ADDRESS", format!("{}/24", self.ip()))
            .env("MAC", subnet.mac(self.index))
            .env("ROLE", if self.is_controller() { "controller" } else { "compute" })
            .env("HIERARCHIES", cluster.cgroups.mounts())
            .current_dir("/");
        run(&mut command, b"")?.checked(format!("start node {}", self.name))?;
        Ok(())
    }

    pub(crate) fn wait_booted(&self, timeout: Duration) -> Result<()> {
        let booted = wait_for(&format!("node {} to boot", self.name), timeout, || {
            if self.cluster.cgroups.processes(Some(&self.name)).is_empty() {
                return Ok(Some(false));
            }
            let root = PathBuf::from(format!("/proc/{}/root", self.init()?));
            Ok(root.join(BOOTED).exists().then_some(true))
        });
        if matches!(booted, Ok(true)) { Ok(()) } else { Err(self.boot_failure()) }
    }

    fn boot_failure(&self) -> Error {
        let path = self.cluster.folder.node(&self.name).join("boot.log");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(20)..].join("\n");
        Error::Boot { node: self.name.clone(), path, log }
    }

    fn set_cable(&self, to: &str) -> Result<()> {
        if !self.is_up() {
            return Err(self.is_down());
        }
        self.switch(&["link", "set", &self.name, to])?.checked(format!("set {}'s cable {to}", self.name))?;
        Ok(())
    }

    /// Runs `ip` in the switch.
    fn switch(&self, args: &[&str]) -> Result<Output> {
        let net = format!("--net=/proc/{}/ns/net", self.cluster.chassis()?);
        run(Command::new("nsenter").args([&net, "ip"]).args(args), b"")
    }

    fn is_controller(&self) -> bool {
        self.index == 0
    }

    fn is_down(&self) -> Error {
        Error::NodeDown { cluster: self.cluster_name(), node: self.name.clone() }
    }

    fn cluster_name(&self) -> String {
        self.cluster.state.spec.name.clone()
    }
}

/// What a clock of the host shows, in whole seconds.
fn clock_s(clock: ClockId) -> Result<String> {
    Ok(clock_gettime(clock).map_err(Error::sys("read a clock"))?.tv_sec().to_string())
}
