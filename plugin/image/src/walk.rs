//! Paths of the store, one component at a time and by descriptor.
//!
//! Below the store nothing is trusted: no symbolic link is followed, whatever is opened is checked for its
//! kind and its owner afterwards, and no open can block on a fifo. Every operation asks for [`Worn`], so it
//! happens with the user's rights. This file knows folders and files, and nothing of images.

use crate::credentials::Worn;
use crate::error::StoreError;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Most entries that are read from one folder.
const ENTRIES_MAX: usize = 100_000;
/// Deepest nesting that is removed.
const DEPTH_MAX: usize = 32;

/// An open folder of the store. The path is for messages only.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// The type bits of a mode.
fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

impl Dir {
    /// Opens the store itself. The way to it is the administrator's (or, with a store of the user's own,
    /// walked with the user's rights), so links on it are followed. `None` when it does not exist.
    pub(crate) fn store(_worn: &Worn, path: &Path) -> Result<Option<Self>, StoreError> {
        match nix::fcntl::open(path, folder_flags(), Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: path.into() })),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR) => Err(StoreError::NotAFolder(path.into())),
            Err(errno) => Err(StoreError::io("open", path, errno)),
        }
    }

    /// Creates the store's folder for the user alone, when only its last component is missing.
    pub(crate) fn create_store(worn: &Worn, path: &Path) -> Result<Self, StoreError> {
        match nix::unistd::mkdir(path, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(Errno::ENOENT | Errno::EACCES) => return Err(StoreError::NoStore(path.into())),
            Err(errno) => return Err(StoreError::io("create", path, errno)),
        }
        Self::store(worn, path)?.ok_or_else(|| StoreError::NoStore(path.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a folder in this one that belongs to the user. `None` when it does not exist.
    pub(crate) fn child(&self, worn: &Worn, name: &OsStr) -> Result<Option<Self>, StoreError> {
        let path = self.path_of(name);
        let fd = match openat(&self.fd, name, folder_flags() | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(StoreError::NotAFolder(path)),
            Err(errno) => return Err(StoreError::io("open", &path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| StoreError::io("look at", &path, errno))?;
        if stat.st_uid != worn.uid() {
            return Err(StoreError::Foreign { path, owner: stat.st_uid, uid: worn.uid() });
        }
        Ok(Some(Self { fd, path }))
    }

    /// Makes a new folder, for the user alone; it must not exist.
    pub(crate) fn create(&self, worn: &Worn, name: &OsStr) -> Result<Self, StoreError> {
        let path = self.path_of(name);
        mkdirat(&self.fd, name, Mode::S_IRWXU).map_err(|errno| StoreError::io("create", &path, errno))?;
        self.child(worn, name)?.ok_or(StoreError::NoStore(path))
    }

    /// Opens a folder, made durably if it is missing.
    pub(crate) fn child_or_create(&self, worn: &Worn, name: &OsStr) -> Result<Self, StoreError> {
        if let Some(child) = self.child(worn, name)? {
            return Ok(child);
        }
        match self.create(worn, name) {
            Ok(child) => {
                self.sync(worn)?;
                Ok(child)
            }
            // Another process of the same user was faster.
            Err(StoreError::Exists(path)) => self.child(worn, name)?.ok_or(StoreError::Exists(path)),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file of the user with these flags. `None` when it does not exist.
    pub(crate) fn file(&self, worn: &Worn, name: &str, flags: OFlag) -> Result<Option<File>, StoreError> {
        let path = self.path_of(name);
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let fd = match openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO | Errno::ENODEV) => {
                return Err(StoreError::NotAFile(path));
            }
            Err(errno) => return Err(StoreError::io("open", &path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| StoreError::io("look at", &path, errno))?;
        if kind(&stat) != SFlag::S_IFREG {
            return Err(StoreError::NotAFile(path));
        }
        if stat.st_uid != worn.uid() {
            return Err(StoreError::Foreign { path, owner: stat.st_uid, uid: worn.uid() });
        }
        Ok(Some(File::from(fd)))
    }

    /// Makes a new file, for the user alone; it must not exist.
    pub(crate) fn create_file(&self, worn: &Worn, name: &str) -> Result<File, StoreError> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        self.file(worn, name, flags)?.ok_or_else(|| StoreError::NoStore(self.path_of(name)))
    }

    /// Renames an entry of this folder within it.
    pub(crate) fn rename(&self, _worn: &Worn, from: &str, to: &str) -> Result<(), StoreError> {
        match renameat(&self.fd, from, &self.fd, to) {
            Ok(()) => Ok(()),
            Err(Errno::ENOTDIR) => Err(StoreError::Exists(self.path_of(to))),
            Err(errno) => Err(StoreError::io("rename to", &self.path_of(to), errno)),
        }
    }

    /// Makes the folder's entries durable.
    pub(crate) fn sync(&self, _worn: &Worn) -> Result<(), StoreError> {
        fsync(&self.fd).map_err(|errno| StoreError::io("fsync", &self.path, errno))
    }

    /// Whether an entry of any kind has this name.
    pub(crate) fn has(&self, _worn: &Worn, name: &str) -> Result<bool, StoreError> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(StoreError::io("look at", &self.path_of(name), errno)),
        }
    }

    /// The names of all entries, sorted.
    pub(crate) fn names(&self, _worn: &Worn) -> Result<Vec<OsString>, StoreError> {
        let failed = |errno: Errno| StoreError::io("list", &self.path, errno);
        // A descriptor of its own: reading a folder moves the descriptor's offset.
        let fd = openat(&self.fd, ".", folder_flags(), Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            let name: OsString = std::os::unix::ffi::OsStringExt::from_vec(name);
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > ENTRIES_MAX {
                return Err(StoreError::TooMany {
                    path: self.path.clone(),
                    what: "entries",
                    limit: ENTRIES_MAX,
                });
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Bytes of the regular files in this folder, not looking into folders.
    pub(crate) fn bytes(&self, worn: &Worn) -> Result<u64, StoreError> {
        let size = |name: OsString| match fstatat(&self.fd, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(&stat) == SFlag::S_IFREG => stat.st_size.cast_unsigned(),
            _ => 0,
        };
        Ok(self.names(worn)?.into_iter().map(size).fold(0, u64::saturating_add))
    }

    /// Removes an entry and everything in it. Nothing outside is touched, whatever is planted there: each
    /// folder is opened without following links, and its entries are removed through that descriptor.
    pub(crate) fn remove(&self, worn: &Worn, name: &OsStr) -> Result<(), StoreError> {
        self.remove_to_depth(worn, name, DEPTH_MAX)
    }

    fn remove_to_depth(&self, worn: &Worn, name: &OsStr, depth: usize) -> Result<(), StoreError> {
        let failed = |errno: Errno| StoreError::io("remove", &self.path_of(name), errno);
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if depth == 0 {
            return Err(StoreError::TooMany { path: self.path_of(name), what: "levels", limit: DEPTH_MAX });
        }
        let Some(inside) = self.child(worn, name)? else { return Ok(()) };
        for entry in inside.names(worn)? {
            inside.remove_to_depth(worn, &entry, depth - 1)?;
        }
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}
