//! A file that appears whole or not at all: written under a temporary name in the same directory, synced,
//! renamed into place, and the directory synced too. Dropping it unfinished removes what was written.

use crate::error::TraceError;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file being written.
pub struct AtomicFile {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts writing what will be `path`.
    ///
    /// # Errors
    /// Its directory is not there or not writable.
    pub fn create(path: &Path) -> Result<Self, TraceError> {
        let temporary = tempfile::Builder::new()
            .prefix(".stasis-")
            .permissions_like(path)
            .tempfile_in(directory(path))
            .map_err(|e| TraceError::io(path, "create", e))?;
        Ok(Self { out: BufWriter::with_capacity(super::BUFFER_BYTES, temporary), path: path.to_owned() })
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an error's place: this file.
    pub fn wrote(&self, result: io::Result<()>) -> Result<(), TraceError> {
        result.map_err(|e| TraceError::io(&self.path, "write", e))
    }

    /// Makes it appear.
    ///
    /// # Errors
    /// It cannot be written, synced or renamed; then nothing has appeared.
    pub fn commit(self) -> Result<(), TraceError> {
        let Self { out, path } = self;
        let temporary = out.into_inner().map_err(|e| TraceError::io(&path, "write", e.into_error()))?;
        temporary.as_file().sync_all().map_err(|e| TraceError::io(&path, "sync", e))?;
        temporary.persist(&path).map_err(|e| TraceError::io(&path, "rename into place", e.error))?;
        let synced = File::open(directory(&path)).and_then(|directory| directory.sync_all());
        synced.map_err(|e| TraceError::io(&path, "sync the directory of", e))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file is private by default; a trace should have the permissions any new file gets.
trait PermissionsLike {
    fn permissions_like(&mut self, path: &Path) -> &mut Self;
}

impl PermissionsLike for tempfile::Builder<'_, '_> {
    #[cfg(unix)]
    fn permissions_like(&mut self, path: &Path) -> &mut Self {
        use std::os::unix::fs::PermissionsExt as _;
        let existing = std::fs::metadata(path).map(|metadata| metadata.permissions());
        // The process's umask is applied on top.
        self.permissions(existing.unwrap_or_else(|_| std::fs::Permissions::from_mode(0o666)))
    }

    #[cfg(not(unix))]
    fn permissions_like(&mut self, _path: &Path) -> &mut Self {
        self
    }
}
