//! A job's folder on its node: small state, in memory. Only root can enter it, and the epilog removes it.

use stasis_contract::SiteConfig;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of one job on this node, for sockets and marks.
#[derive(Debug, Clone)]
pub struct NodeFolder {
    /// Where it is.
    pub path: PathBuf,
}

/// Left in it by a shepherd whose session is safe and whose job is to come back.
const REQUEUE_MARK: &str = "requeue";

impl NodeFolder {
    /// Where the job's folder is.
    pub fn of(site: &SiteConfig, job_id: u32) -> Self {
        Self { path: site.state.join(format!("job-{job_id}")) }
    }

    /// Makes it, empty.
    pub fn create(&self) -> io::Result<()> {
        self.remove();
        private_folder(&self.path)
    }

    /// Removes it and all in it.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    /// An empty folder for the sockets and logs of one dump or restore.
    pub fn fresh_criu(&self) -> io::Result<PathBuf> {
        let folder = self.path.join("criu");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        private_folder(&folder)?;
        Ok(folder)
    }

    /// Marks the job as one that is to come back, perhaps anywhere but on one node.
    pub fn mark_requeue(&self, not_on: Option<&str>) -> io::Result<()> {
        fs::write(self.path.join(REQUEUE_MARK), not_on.unwrap_or_default())
    }

    /// If the job is to come back: the nodes that it is to avoid, at most one.
    pub fn requeue_mark(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.path.join(REQUEUE_MARK)).ok()?;
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
