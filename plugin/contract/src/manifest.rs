//! What an image says of itself. The manifest is written last: an image without a whole and authentic
//! manifest does not exist.

use crate::Trigger;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of the image format that this release writes. Independent of the product's version.
pub const FORMAT_VERSION: u32 = 1;

/// The description of one committed image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format, [`FORMAT_VERSION`] when written by this release.
    pub format: u32,
    /// Whose image this is and where it was made. A restore checks all of it.
    pub origin: Origin,
    /// What a restore needs to know that is not in CRIU's own files.
    pub session: SessionState,
    /// Every file of the image, in the order of their names.
    pub files: Vec<FileEntry>,
}

/// Whose image it is, and where and why it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Slurm's ClusterName.
    pub cluster: String,
    /// Slurm's job id.
    pub job_id: u32,
    /// Uid of the job's user.
    pub uid: u32,
    /// Primary gid of the job's user.
    pub gid: u32,
    /// Number of the image within the job, from 1 and growing.
    pub image: u32,
    /// How often the job had been requeued when the image was made.
    pub restart_count: u32,
    /// Wall-clock time of the dump in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// The node's name.
    pub node: String,
    /// Kernel release of the node, as `uname -r` prints it.
    pub kernel: String,
    /// CPU features of the node (the `flags` of /proc/cpuinfo), sorted.
    pub cpu_features: Vec<String>,
    /// Why the checkpoint was taken.
    pub trigger: Trigger,
}

/// What a restore needs besides CRIU's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionState {
    /// Pid, inside the capsule, of the process at the root of the session's tree.
    pub root_pid: i32,
    /// Every pid of the session inside the capsule, sorted: a restore keeps them free.
    pub pids: Vec<i32>,
    /// Inode of the pipe that was the session's standard output.
    pub stdout_pipe: u64,
    /// Inode of the pipe that was the session's standard error.
    pub stderr_pipe: u64,
    /// Ports that the session listens on, inside the capsule.
    pub ports: Vec<u16>,
    /// Resident bytes of the session at the dump.
    pub resident_bytes: u64,
    /// Folders private to the capsule that travel with the image.
    pub trees: Vec<PrivateTree>,
}

/// A folder that only the capsule sees, kept in the image as one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateTree {
    /// Where the capsule sees it, such as `/tmp`.
    pub mount_point: PathBuf,
    /// Name of the archive among the image's files; none if the folder was empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// How a file's bytes are kept in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4 blocks: cheap enough to keep up with fast storage.
    #[default]
    Lz4,
    /// Zstandard: smaller and slower, for slow or precious storage.
    Zstd,
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Plain file name, with no folder in it.
    pub name: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// How the content is kept.
    pub compression: Compression,
    /// Bytes of content in each of its chunks but the last.
    pub chunk_bytes: u32,
    /// Keyed BLAKE3 of its chunk table, which holds the keyed BLAKE3 of every chunk, in hexadecimal.
    pub mac: String,
}

impl Manifest {
    /// Bytes of the image in the store, without the manifest itself.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.stored_bytes).sum()
    }

    /// Bytes of the image's content.
    pub fn content_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}
