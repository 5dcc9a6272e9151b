//! Unpacking a verified image into a folder that only root can see, on all cores.
//!
//! A byte is written there only after its chunk is authenticated, each file is made anew and written once,
//! and after a failure nothing of it is left. This file never writes into the store.

use crate::pool::{lock, thread_count};
use crate::refusal::Refusal;
use crate::verified::{Chunk, ChunkReader, VerifiedFile, VerifiedManifest};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use thiserror::Error;

/// Files that are open at once.
const FILES_AT_ONCE: usize = 128;

/// Why an image was not unpacked.
#[derive(Debug, Error)]
pub enum ExtractError {
    /// It is the image's fault: an older one may be tried.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The folder is not one that only this process's user can see.
    #[error(
        "cannot unpack into {path}: {reason}; it must be a folder with mode 0700 that belongs to uid {uid}"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Whose it must be.
        uid: u32,
    },
    /// The node has no room, or worse.
    #[error("cannot unpack to {path}: {source}; is the node's disk full?")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A file that is being unpacked.
struct Pair {
    source: VerifiedFile,
    target: Option<(File, PathBuf)>,
}

impl VerifiedManifest {
    /// Unpacks the named files (see [`Self::manifest`] for all) into `folder`. Returns the bytes written.
    ///
    /// # Errors
    /// When a file is refused or the folder cannot take it. Nothing of this call is left there then.
    pub fn extract_into<'n>(
        &self,
        folder: &Path,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<u64, ExtractError> {
        let names: Vec<&str> = names.into_iter().collect();
        let target = open_private(folder)?;
        let mut made = Vec::new();
        let result = names
            .chunks(FILES_AT_ONCE)
            .try_fold(0, |bytes, names| Ok(bytes + self.extract_some(&target, folder, names, &mut made)?));
        if result.is_err() {
            for name in made {
                // Best effort: the caller removes the folder, and a restore is not begun.
                let _ = unlinkat(&target, name, UnlinkatFlags::NoRemoveDir);
            }
        }
        result
    }

    /// Authenticates the whole content and writes nothing. Returns the bytes of content.
    ///
    /// # Errors
    /// The first reason for which this image must not be restored.
    pub fn verify(&self) -> Result<u64, Refusal> {
        let mut bytes = 0;
        for entries in self.manifest().files.chunks(FILES_AT_ONCE) {
            let mut pairs = Vec::new();
            for entry in entries {
                pairs.push(Pair { source: self.file(&entry.name)?, target: None });
                bytes += entry.bytes;
            }
            each_chunk(&pairs).map_err(|error| match error {
                ExtractError::Refused(refusal) => refusal,
                other => Refusal::Malformed(other.to_string()),
            })?;
        }
        Ok(bytes)
    }

    fn extract_some<'n>(
        &self,
        folder: &OwnedFd,
        path: &Path,
        names: &[&'n str],
        made: &mut Vec<&'n str>,
    ) -> Result<u64, ExtractError> {
        let mut pairs = Vec::with_capacity(names.len());
        for name in names {
            let source = self.file(name)?;
            let path = path.join(name);
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let failed = |source| ExtractError::Write { path: path.clone(), source };
            let opened = openat(folder, *name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
            let target = File::from(opened.map_err(|errno| failed(errno.into()))?);
            made.push(name);
            target.set_len(source.entry().bytes).map_err(failed)?;
            pairs.push(Pair { source, target: Some((target, path)) });
        }
        each_chunk(&pairs)?;
        Ok(pairs.iter().map(|pair| pair.source.entry().bytes).sum())
    }
}

/// Opens a folder that nobody but this process's user can look into.
fn open_private(path: &Path) -> Result<OwnedFd, ExtractError> {
    let uid = geteuid().as_raw();
    let refuse = |reason: String| ExtractError::Folder { path: path.into(), reason, uid };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| refuse(errno.desc().into()))?;
    let stat = fstat(folder.as_fd()).map_err(|errno| refuse(errno.desc().into()))?;
    let mode = stat.st_mode & !SFlag::S_IFMT.bits();
    if stat.st_uid != uid || mode & 0o077 != 0 {
        return Err(refuse(format!("it has mode {mode:04o} and belongs to uid {}", stat.st_uid)));
    }
    Ok(folder)
}

/// Authenticates every chunk of these files on all cores, and writes it to its target if there is one.
fn each_chunk(pairs: &[Pair]) -> Result<(), ExtractError> {
    let work: Vec<(usize, u64)> = pairs
        .iter()
        .enumerate()
        .flat_map(|(at, pair)| (0..pair.source.chunk_count()).map(move |index| (at, index)))
        .collect();
    let (next, stop, failure) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
    let some = || {
        let mut reader = ChunkReader::default();
        while !stop.load(Ordering::Relaxed) {
            let Some((at, index)) = work.get(next.fetch_add(1, Ordering::Relaxed) as usize) else { return };
            if let Err(error) = one_chunk(&pairs[*at], *index, &mut reader) {
                stop.store(true, Ordering::Relaxed);
                lock(&failure).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..thread_count().min(work.len()) {
            scope.spawn(some);
        }
        some();
    });
    lock(&failure).take().map_or(Ok(()), Err)
}

fn one_chunk(pair: &Pair, index: u64, reader: &mut ChunkReader) -> Result<(), ExtractError> {
    let chunk = pair.source.chunk(index, reader)?;
    // Zeros stay holes in the new file.
    if let (Chunk::Bytes(bytes), Some((target, path))) = (chunk, &pair.target) {
        let offset = index * u64::from(pair.source.entry().chunk_bytes);
        let written = target.write_all_at(bytes, offset);
        written.map_err(|source| ExtractError::Write { path: path.clone(), source })?;
    }
    Ok(())
}
