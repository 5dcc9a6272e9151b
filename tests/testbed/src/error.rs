//! What can go wrong with a test cluster, said so that the reader knows the thing and the remedy.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the testbed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller is not root.
    #[error("the testbed needs root (namespaces, mounts and cgroups of the whole machine); run it as root")]
    NotRoot,

    /// A program that the host must have is missing.
    #[error("couldn't find the program {tool}; install the package {package}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The Debian package that has it.
        package: String,
    },

    /// A file operation failed.
    #[error("couldn't {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// A system call failed that concerns no path.
    #[error("couldn't {what}: {source}")]
    Sys {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },

    /// A command ended unsuccessfully.
    #[error("couldn't {what}: `{command}` ended with {status}{}", tail(stderr))]
    Command {
        /// What it was for.
        what: String,
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it said.
        stderr: String,
    },

    /// The machine's apt configuration names no Debian archive.
    #[error(
        "couldn't find a Debian archive with the component main in /etc/apt/sources.list or \
         /etc/apt/sources.list.d; the node image is built from the machine's own archive, so add one"
    )]
    NoMirror,

    /// The machine has no cgroup controllers to give to the nodes.
    #[error("couldn't find a cgroup file system below /sys/fs/cgroup; mount one, the nodes' Slurm needs it")]
    NoCgroups,

    /// A cluster of this name is up, or half up.
    #[error(
        "cluster {name} exists already in {}; `stasis-testbed --name {name} down` removes it",
        folder.display()
    )]
    Exists {
        /// The cluster.
        name: String,
        /// Its folder.
        folder: PathBuf,
    },

    /// There is no such cluster.
    #[error("no cluster {name} in {}; `stasis-testbed --name {name} up` boots one", folder.display())]
    NoCluster {
        /// The cluster.
        name: String,
        /// Where it was sought.
        folder: PathBuf,
    },

    /// The cluster's processes are gone, its files are not.
    #[error(
        "cluster {name} has lost all its processes (did the machine reboot?); \
         `stasis-testbed --name {name} down` removes what is left"
    )]
    Dead {
        /// The cluster.
        name: String,
    },

    /// The cluster has no such node.
    #[error("cluster {cluster} has no node {node}; its nodes are {}", nodes.join(", "))]
    NoNode {
        /// The cluster.
        cluster: String,
        /// The node asked for.
        node: String,
        /// Those that there are.
        nodes: Vec<String>,
    },

    /// The node is not running.
    #[error("node {node} is down; `stasis-testbed --name {cluster} start {node}` boots it")]
    NodeDown {
        /// The cluster.
        cluster: String,
        /// The node.
        node: String,
    },

    /// The node is running.
    #[error("node {node} is up already; `stasis-testbed --name {cluster} kill {node}` takes its power away")]
    NodeUp {
        /// The cluster.
        cluster: String,
        /// The node.
        node: String,
    },

    /// A node died while it booted.
    #[error("node {node} did not boot; the end of {} (kept with STASIS_TESTBED_KEEP=1):\n{log}", path.display())]
    Boot {
        /// The node.
        node: String,
        /// Its boot log.
        path: PathBuf,
        /// The end of it.
        log: String,
    },

    /// Something did not come to pass in time.
    #[error("waited {seconds:.1} s in vain for {what}{}", last(last_seen))]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: f64,
        /// What was seen last.
        last_seen: String,
    },

    /// Text that does not say what it should.
    #[error("couldn't read {what} from {text:?}")]
    Parse {
        /// What was expected.
        what: &'static str,
        /// What was there.
        text: String,
    },

    /// Jupyter gave no answer, or not the right one.
    #[error(transparent)]
    Jupyter(#[from] crate::jupyter::Error),

    /// A program under test is not built.
    #[error(
        "{} is not built: run `cargo build{} -p spank-stasis -p stasis-shepherd -p stasis-capsule -p stasis-cli` with \
         the same target folder, as `make` does for what it runs; or set {}",
        path.display(),
        profile(path),
        crate::artifacts::FOLDER
    )]
    NotBuilt {
        /// Where it was sought.
        path: PathBuf,
    },

    /// A specification that cannot be met.
    #[error("{0}")]
    Spec(String),

    /// Every subnet is taken.
    #[error("every subnet of 10.77.0.0/16 overlaps a route of this machine or another cluster; `down` one")]
    NoSubnet,

    /// Something is left of a cluster that was taken down.
    #[error("couldn't remove all of cluster {name}; still there:\n  {}", remains.join("\n  "))]
    Remains {
        /// The cluster.
        name: String,
        /// What is left, and why.
        remains: Vec<String>,
    },
}

impl Error {
    /// For `map_err`: an I/O error on a path.
    pub(crate) fn io(verb: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { verb, path, source }
    }

    /// For `map_err`: any other system error.
    pub(crate) fn sys<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Sys { what, source: source.into() }
    }
}

fn tail(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.trim_end().lines().collect();
    let from = lines.len().saturating_sub(12);
    if lines.is_empty() { String::new() } else { format!(":\n{}", lines[from..].join("\n")) }
}

/// The argument of cargo that puts something there.
fn profile(path: &Path) -> &'static str {
    if path.parent().is_some_and(|folder| folder.ends_with("release")) { " --release" } else { "" }
}

fn last(seen: &str) -> String {
    if seen.is_empty() { String::new() } else { format!("; last seen: {seen}") }
}
