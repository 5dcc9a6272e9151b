//! A job's folder on its node: small state, in memory. Only root can enter it, and the epilog removes it.

use stasis_contract::SiteConfig;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folders of one job on this node.
#[derive(Debug, Clone)]
pub struct NodeFolders {
    /// Sockets and marks.
    pub state: PathBuf,
}

/// Left in the state folder by a shepherd whose session is safe and whose job is to come back.
const REQUEUE_MARK: &str = "requeue";

impl NodeFolders {
    /// Where the job's folders are.
    pub fn of(site: &SiteConfig, job_id: u32) -> Self {
        let name = format!("job-{job_id}");
        Self { state: site.state.join(name) }
    }

    /// Makes them, empty.
    pub fn create(&self) -> io::Result<()> {
        self.remove();
        private_folder(&self.state)
    }

    /// Removes them and all in them.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.state);
    }

    /// An empty folder for the sockets and logs of one dump or restore.
    pub fn fresh_criu(&self) -> io::Result<PathBuf> {
        let folder = self.state.join("criu");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        private_folder(&folder)?;
        Ok(folder)
    }

    /// Marks the job as one that is to come back, perhaps anywhere but on one node.
    pub fn mark_requeue(&self, not_on: Option<&str>) -> io::Result<()> {
        fs::write(self.state.join(REQUEUE_MARK), not_on.unwrap_or_default())
    }

    /// If the job is to come back: the nodes that it is to avoid, at most one.
    pub fn requeue_mark(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.state.join(REQUEUE_MARK)).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }
}

/// Makes a folder that only root can enter, or accepts one that is so already.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let facts = fs::symlink_metadata(path)?;
    if !facts.is_dir() || facts.uid() != 0 {
        return Err(io::Error::other(format!("{} is not a folder of root's", path.display())));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}
