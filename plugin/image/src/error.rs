//! What can go wrong with a path in the store, said so that a person knows what to do about it.
//!
//! Refusals of an image's *content* are not here: see `refusal.rs`.

use crate::credentials::CredentialError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the store could not be read, written or changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store's path is relative, so it would depend on who asks.
    #[error("the store `{0}` is not an absolute path: give the whole path, from `/`")]
    Relative(PathBuf),
    /// The store's folder does not exist.
    #[error("the store {0} does not exist: ask your site to create it with mode 1777 on shared storage")]
    NoStore(PathBuf),
    /// A name that would leave its folder, or that no file of an image may have.
    #[error("`{name}` cannot be the name of {what}: use letters, digits and `._+@:-`, not starting with `.`")]
    Name {
        /// What it would have named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Image numbers run from 1 to 999999.
    #[error("image number {0} is outside 1..=999999: remove the job's images to start again")]
    Number(u32),
    /// No space is left.
    #[error(
        "the store is full: no space for {path}; free some, or use another store with --stasis=store=PATH"
    )]
    Full {
        /// What was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The user's quota is used up.
    #[error("your quota is used up: no space for {path}; remove old images with `stasis rm` or ask for more")]
    Quota {
        /// What was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file would be larger than a limit allows.
    #[error("{path} would be larger than the file size limit allows: raise it (`ulimit -f`)")]
    TooLarge {
        /// What was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file system cannot be written.
    #[error("the store is read-only: cannot {verb} {path}; remount it writable, or use another store")]
    ReadOnly {
        /// What was tried.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The job's user may not do this.
    #[error(
        "cannot {verb} {path}: permission denied; the store must have mode 1777, and what is below it be the user's"
    )]
    Denied {
        /// What was tried.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something in the user's part of the store belongs to another.
    #[error(
        "{path} belongs to uid {owner}, not to uid {uid}: it is not used; an administrator can remove it"
    )]
    Foreign {
        /// What was found.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whose it should be.
        uid: u32,
    },
    /// A symbolic link, device, fifo or file where a folder belongs.
    #[error("{0} is not a folder (and a symbolic link is not followed): remove it")]
    NotAFolder(PathBuf),
    /// A symbolic link, device, fifo or folder where a file belongs.
    #[error("{0} is not a regular file (and a symbolic link is not followed): remove it")]
    NotAFile(PathBuf),
    /// What should be new is there already.
    #[error("{0} exists already: it is not written over")]
    Exists(PathBuf),
    /// A folder with more entries, or deeper, than any image has.
    #[error("{path} holds more than {limit} {what}: this is no folder of Stasis; remove it by hand")]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// Of what there are too many.
        what: &'static str,
        /// How many are looked at.
        limit: usize,
    },
    /// The thread could not take on the user's credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Anything else that the system refused.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// Sorts a system error by what a person has to do about it.
    pub(crate) fn io(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_path_buf(), source.into());
        match source.raw_os_error() {
            Some(libc::ENOSPC) => Self::Full { path, source },
            Some(libc::EDQUOT) => Self::Quota { path, source },
            Some(libc::EFBIG) => Self::TooLarge { path, source },
            Some(libc::EROFS) => Self::ReadOnly { verb, path, source },
            Some(libc::EACCES | libc::EPERM) => Self::Denied { verb, path, source },
            Some(libc::EEXIST | libc::ENOTEMPTY) => Self::Exists(path),
            _ => Self::Io { verb, path, source },
        }
    }

    /// The system's error number, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Full { source, .. }
            | Self::Quota { source, .. }
            | Self::TooLarge { source, .. }
            | Self::ReadOnly { source, .. }
            | Self::Denied { source, .. }
            | Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
