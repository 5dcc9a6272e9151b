//! What a cluster keeps on the host's disk: its folder, and the little that the kernel does not know of it.
//!
//! ```text
//! BASE/.lock            held while a name and a subnet are claimed
//! BASE/NAME/state.json  the specification, the subnet, the image
//!           chassis.sh  node.sh        what the host runs for it
//!           home/  shared/             bound into every node as /home and /shared
//!           staged/list, staged/NUMBER files to install: lines "NUMBER MODE PATH", appended only
//!           nodes/NODE/upper, work     what the node wrote: its disk
//!           nodes/NODE/installed       how many lines of staged/list its disk has
//!           nodes/NODE/boot.log        what its boots said
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::lock;
use crate::network::Subnet;
use crate::spec::{ClusterSpec, InstallFile};

/// The store of checkpoints, as the nodes see it.
pub const STORE: &str = "/shared/stasis";

const CHASSIS_SCRIPT: &str = include_str!("scripts/chassis.sh");
const NODE_SCRIPT: &str = include_str!("scripts/node.sh");
const USERS: [(&str, u32); 2] = [("alice", 2001), ("bob", 2002)];

/// What `state.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) spec: ClusterSpec,
    pub(crate) subnet: Subnet,
    pub(crate) image: PathBuf,
}

/// A cluster's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder of the cluster with this name, made or not.
    pub(crate) fn of(name: &str) -> Self {
        Self { path: Self::base().join(name) }
    }

    /// The names of all clusters that there are, whole or not.
    pub(crate) fn names() -> Vec<String> {
        let folders = fs::read_dir(Self::base()).into_iter().flatten().flatten();
        folders.filter_map(|folder| folder.file_name().into_string().ok()).collect()
    }

    fn base() -> PathBuf {
        std::env::var_os("STASIS_TESTBED_DIR").map_or_else(|| "/var/lib/stasis-testbed".into(), PathBuf::from)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A name for the kernel's things that no cluster of another name, or of another base, has.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.hash())
    }

    /// Eight digits that stand for the folder: what fits a network link's name.
    pub(crate) fn hash(&self) -> String {
        blake3::hash(self.path.as_os_str().as_encoded_bytes()).to_hex()[..8].to_owned()
    }

    /// Takes the name and an unused subnet for a new cluster.
    pub(crate) fn claim(&self, spec: ClusterSpec, image: PathBuf) -> Result<State> {
        let base = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(base).map_err(Error::io("make", base))?;
        let _lock = lock(&base.join(".lock"), None)?;
        let siblings = fs::read_dir(base).map_err(Error::io("list", base))?;
        let siblings = siblings.flatten().map(|entry| Self { path: entry.path() });
        let taken: Vec<Subnet> =
            siblings.filter_map(|folder| folder.state().ok()).map(|s| s.subnet).collect();
        let state = State { spec, subnet: Subnet::unused(&taken)?, image };
        if let Err(error) = fs::create_dir(&self.path) {
            return Err(match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Error::Exists { name: state.spec.name, folder: self.path.clone() }
                }
                _ => Error::io("make", &self.path)(error),
            });
        }
        let json = serde_json::to_string_pretty(&state).map_err(Error::sys("write the cluster's state"))?;
        self.write("state.json", json.as_bytes())?;
        Ok(state)
    }

    /// What was claimed.
    pub(crate) fn state(&self) -> Result<State> {
        let path = self.path.join("state.json");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|_| Error::Parse { what: "a cluster's state", text })
    }

    /// Makes the shared folders and those of the nodes.
    pub(crate) fn lay_out(&self, nodes: &[String]) -> Result<()> {
        self.make("home", 0o755)?;
        self.make("shared", 0o755)?;
        self.make("shared/stasis", 0o1777)?;
        self.make("staged", 0o700)?;
        self.write("staged/list", b"")?;
        self.write("chassis.sh", CHASSIS_SCRIPT.as_bytes())?;
        self.write("node.sh", NODE_SCRIPT.as_bytes())?;
        for (user, uid) in USERS {
            let home = self.make(&format!("home/{user}"), 0o700)?;
            std::os::unix::fs::chown(&home, Some(uid), Some(uid)).map_err(Error::io("give away", &home))?;
        }
        for node in nodes {
            for part in ["root", "upper", "work"] {
                self.make(&format!("nodes/{node}/{part}"), 0o755)?;
            }
        }
        Ok(())
    }

    /// Adds a file to those that every node gets; its number in the list.
    pub(crate) fn stage(&self, content: &[u8], to: &Path, mode: u32) -> Result<usize> {
        let list = self.path.join("staged/list");
        let lines = fs::read_to_string(&list).map_err(Error::io("read", &list))?;
        let number = lines.lines().count() + 1;
        self.write(&format!("staged/{number}"), content)?;
        let mut file = fs::OpenOptions::new().append(true).open(&list).map_err(Error::io("open", &list))?;
        writeln!(file, "{number} {mode:o} {}", to.display()).map_err(Error::io("write", &list))?;
        Ok(number)
    }

    /// Notes that a node's disk has all staged files up to this one.
    pub(crate) fn note_installed(&self, node: &str, number: usize) -> Result<()> {
        self.write(&format!("nodes/{node}/installed"), number.to_string().as_bytes())
    }

    /// A node's own folder.
    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.path.join("nodes").join(node)
    }

    /// A path in the folder.
    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    /// Removes all of it.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    fn make(&self, relative: &str, mode: u32) -> Result<PathBuf> {
        let path = self.path.join(relative);
        fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&path, mode).map_err(Error::io("set the mode of", &path))?;
        Ok(path)
    }

    fn write(&self, relative: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(relative);
        fs::write(&path, content).map_err(Error::io("write", &path))
    }
}

/// Reads a file to install, and the mode it gets.
pub(crate) fn read_for_install(file: &InstallFile) -> Result<(Vec<u8>, u32)> {
    let content = fs::read(&file.from).map_err(Error::io("read", &file.from))?;
    let own = fs::metadata(&file.from).map_err(Error::io("read", &file.from))?.permissions().mode();
    Ok((content, file.mode.unwrap_or(own & 0o7777)))
}
