//! An image while it is made: a folder that nobody takes for an image, and the files poured into it.
//!
//! What is staged counts for nothing until `commit.rs` has made it whole. Dropping it removes it.

use crate::chunk::{CHUNK_BYTES, Place, Seal};
use crate::codec::Encoder;
use crate::credentials::User;
use crate::error::StoreError;
use crate::fault;
use crate::key::Key;
use crate::name;
use crate::pool::{Pool, Task, lock};
use crate::sink::Sink;
use crate::walk::Dir;
use stasis_contract::{Compression, FileEntry};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use thiserror::Error;

/// A last chunk of at most this many bytes is done at once by whoever finishes the file: handing it to
/// another thread would take longer.
const INLINE_BYTES: usize = 64 << 10;
/// So many finished files may wait for their fsync with open descriptors; later ones are made durable at once.
const UNSYNCED_MAX: usize = 200;

/// Why an image could not be made.
#[derive(Debug, Error)]
pub enum StageError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be put in could not be read.
    #[error("cannot read what becomes {name} in the image: {source}")]
    Source {
        /// The file of the image.
        name: String,
        /// The reader's error.
        source: io::Error,
    },
    /// Two files have one name.
    #[error("the image has a file {0} already: each file is written once")]
    Twice(String),
    /// A file was begun and not finished, so the image is not whole.
    #[error("{0} was begun and not finished: the image is not committed")]
    Unfinished(String),
    /// The caller describes another image than the one that was staged.
    #[error("the origin's {field} is {found}, but the image was staged for {expected}: it is not committed")]
    Origin {
        /// Which field.
        field: &'static str,
        /// What the origin says.
        found: String,
        /// What the image was staged for.
        expected: String,
    },
    /// The description of the image is larger than any reader accepts.
    #[error("the manifest would have {0} bytes, more than is ever read back: the image is not committed")]
    ManifestTooLarge(usize),
    /// It failed, and what was already written could not be removed either.
    #[error("{failure}; moreover the unfinished image could not be removed: {cleanup}")]
    Cleanup {
        /// What failed first.
        failure: Box<StageError>,
        /// Why its rest is still there.
        cleanup: StoreError,
    },
}

/// An image that is being made. Files may be written by several threads at once. As long as it lives, one
/// thread per core works for it: a process that forks meanwhile must exec at once.
#[derive(Debug)]
pub struct StagedImage {
    pub(crate) shared: Arc<Staged>,
    /// The folder's present name in the job's folder; `None` once there is nothing to remove.
    pub(crate) folder: Option<String>,
}

/// What a staged image and the writers of its files share.
pub(crate) struct Staged {
    pub(crate) user: User,
    pub(crate) key: Key,
    pub(crate) place: Place,
    pub(crate) job_dir: Dir,
    pub(crate) dir: Dir,
    pub(crate) files: Mutex<BTreeMap<String, FileState>>,
    pool: Pool,
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Staged").field("place", &self.place).field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// How far a file has come.
pub(crate) enum FileState {
    /// Being written, or given up half-way.
    Open,
    /// Written; kept open for its fsync unless that is done.
    Finished { entry: FileEntry, unsynced: Option<Arc<Sink>> },
}

impl StagedImage {
    /// Makes the folder in which the image grows, and starts the threads that fill it.
    pub(crate) fn begin(job_dir: Dir, user: &User, place: Place, key: &Key) -> Result<Self, StageError> {
        let folder = staging_name(place.image)?;
        let pool = Pool::start(user)
            .map_err(|source| StoreError::io("start threads for", job_dir.path(), source))?;
        let worn = user.wear().map_err(StoreError::from)?;
        let dir = job_dir.create(&worn, OsStr::new(&folder))?;
        drop(worn);
        let shared = Staged {
            user: user.clone(),
            key: key.clone(),
            place,
            job_dir,
            dir,
            files: Mutex::default(),
            pool,
        };
        // From here on dropping removes the folder.
        let staged = Self { shared: Arc::new(shared), folder: Some(folder) };
        fault::reach("begin")?;
        Ok(staged)
    }

    /// Begins a file of the image. It can be written from any thread, and must be finished.
    ///
    /// # Errors
    /// When the name is not plain or taken, or the store refuses.
    pub fn file(&self, name: &str, compression: Compression) -> Result<FileWriter, StageError> {
        FileWriter::begin(&self.shared, name, compression)
    }

    /// Puts everything that `reader` gives into one file: a pipe, a file, anything. Several threads may do
    /// this at once for different files.
    ///
    /// # Errors
    /// When the name is not plain or taken, `reader` fails, or the store refuses.
    pub fn add(
        &self,
        name: &str,
        compression: Compression,
        reader: impl Read,
    ) -> Result<FileEntry, StageError> {
        let mut file = self.file(name, compression)?;
        file.pour(reader)?;
        file.finish()
    }

    /// Removes a file that is finished, as if it had never been.
    ///
    /// # Errors
    /// When it is not, or the store refuses.
    pub fn discard(&self, name: &str) -> Result<(), StageError> {
        let shared = &self.shared;
        let worn = shared.user.wear().map_err(StoreError::from)?;
        let mut files = lock(&shared.files);
        if !matches!(files.get(name), Some(FileState::Finished { .. })) {
            return Err(StageError::Unfinished(name.into()));
        }
        shared.dir.remove(&worn, OsStr::new(name))?;
        files.remove(name);
        Ok(())
    }

    /// Where the image grows, for messages.
    pub fn path(&self) -> &Path {
        self.shared.dir.path()
    }

    /// Removes what was staged.
    ///
    /// # Errors
    /// When something of it could not be removed. It is never taken for an image all the same.
    pub fn abandon(mut self) -> Result<(), StoreError> {
        self.remove()
    }

    /// Removes the folder, if there still is one.
    pub(crate) fn remove(&mut self) -> Result<(), StoreError> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        let worn = self.shared.user.wear()?;
        self.shared.job_dir.remove(&worn, OsStr::new(&folder))
    }
}

impl Drop for StagedImage {
    fn drop(&mut self) {
        // Nobody to tell: who wants to know calls `abandon`. The next run of the job removes what is left.
        let _ = self.remove();
    }
}

/// The part of staging names that is this process's own.
fn run_mark() -> Result<&'static str, StoreError> {
    static MARK: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(mark) = MARK.get() {
        return Ok(mark);
    }
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| {
        StoreError::io("draw a name in", Path::new(name::STAGING_PREFIX), io::Error::other(error))
    })?;
    Ok(MARK.get_or_init(|| format!("{:016x}", u64::from_le_bytes(random))))
}

/// A new name for a folder that is no image: `.tmp-<number>-<this process's mark>-<count>`.
pub(crate) fn staging_name(number: u32) -> Result<String, StoreError> {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Ok(format!("{}{number}-{}-{count}", name::STAGING_PREFIX, run_mark()?))
}

/// Whether the name is of something staged by another process than this one.
pub(crate) fn is_stale(name: &OsStr) -> Result<bool, StoreError> {
    let name = name.to_string_lossy();
    Ok(name.starts_with(name::STAGING_PREFIX) && !name.contains(run_mark()?))
}

/// One file of a staged image while it is written. It must be finished for the image to be committed.
pub struct FileWriter {
    staged: Arc<Staged>,
    sink: Arc<Sink>,
    name: String,
    compression: Compression,
    buffer: Vec<u8>,
    filled: usize,
    chunks: u64,
    content: u64,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FileWriter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FileWriter {
    fn begin(staged: &Arc<Staged>, name: &str, compression: Compression) -> Result<Self, StageError> {
        name::check_file(name)?;
        let mut files = lock(&staged.files);
        if files.contains_key(name) {
            return Err(StageError::Twice(name.into()));
        }
        let worn = staged.user.wear().map_err(StoreError::from)?;
        let file = staged.dir.create_file(&worn, name)?;
        files.insert(name.into(), FileState::Open);
        drop(files);
        fault::reach("create file")?;
        let seal = Seal::new(&staged.key, &staged.place, name, compression, CHUNK_BYTES as u32);
        Ok(Self {
            sink: Arc::new(Sink::new(file, staged.dir.path_of(name), seal, compression)),
            buffer: staged.pool.shared().buffer(),
            staged: Arc::clone(staged),
            name: name.into(),
            compression,
            filled: 0,
            chunks: 0,
            content: 0,
        })
    }

    /// Writes everything that `reader` gives, reading straight into the chunks.
    ///
    /// # Errors
    /// When `reader` fails or the store refuses.
    pub fn pour(&mut self, mut reader: impl Read) -> Result<u64, StageError> {
        let before = self.content;
        loop {
            if self.filled == self.buffer.len() {
                // Whether the full chunk is the last is known only when there is more, or is not.
                let mut next = self.staged.pool.shared().buffer();
                let count = self.read(&mut reader, &mut next)?;
                if count == 0 {
                    self.staged.pool.shared().recycle(next);
                    return Ok(self.content - before);
                }
                self.submit(next)?;
                self.filled = count;
            } else {
                let mut buffer = std::mem::take(&mut self.buffer);
                let count = self.read(&mut reader, &mut buffer[self.filled..]);
                self.buffer = buffer;
                match count? {
                    0 => return Ok(self.content - before),
                    count => self.filled += count,
                }
            }
        }
    }

    fn read(&mut self, reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, StageError> {
        loop {
            match reader.read(buffer) {
                Ok(count) => {
                    self.content += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StageError::Source { name: self.name.clone(), source }),
            }
        }
    }

    /// Hands the full buffer on, as a chunk that is not the last, and goes on with `next`.
    fn submit(&mut self, next: Vec<u8>) -> Result<(), StageError> {
        self.sink.check()?;
        let content = std::mem::replace(&mut self.buffer, next);
        let task = self.task(content, false);
        self.staged.pool.shared().submit(task);
        Ok(())
    }

    fn task(&mut self, content: Vec<u8>, last: bool) -> Task {
        let index = self.chunks;
        self.chunks += 1;
        self.sink.announce();
        Task { sink: Arc::clone(&self.sink), index, last, content, length: std::mem::take(&mut self.filled) }
    }

    /// Writes what is left and the file's table. The file becomes durable when the image is committed.
    ///
    /// # Errors
    /// When the store refuses, now or at an earlier write.
    pub fn finish(mut self) -> Result<FileEntry, StageError> {
        self.sink.check()?;
        if self.filled > 0 {
            let inline = self.filled <= INLINE_BYTES;
            let buffer = std::mem::take(&mut self.buffer);
            let task = self.task(buffer, true);
            let pool = self.staged.pool.shared();
            if inline {
                let _worn = self.staged.user.wear().map_err(StoreError::from)?;
                self.sink.process(task, None, &mut Encoder::new(), pool);
            } else {
                pool.submit(task);
            }
        }
        let worn = self.staged.user.wear().map_err(StoreError::from)?;
        let (stored_bytes, mac) = self.sink.finish(self.content)?;
        drop(worn);
        fault::reach("write table")?;
        let entry = FileEntry {
            name: self.name.clone(),
            bytes: self.content,
            stored_bytes,
            compression: self.compression,
            chunk_bytes: CHUNK_BYTES as u32,
            mac: mac.to_hex().to_string(),
        };
        self.register(entry.clone())?;
        Ok(entry)
    }

    fn register(&self, entry: FileEntry) -> Result<(), StageError> {
        let waiting = |state: &&FileState| matches!(state, FileState::Finished { unsynced: Some(_), .. });
        let many = lock(&self.staged.files).values().filter(waiting).count() >= UNSYNCED_MAX;
        if many {
            let _worn = self.staged.user.wear().map_err(StoreError::from)?;
            self.sink.sync()?;
        }
        let unsynced = (!many).then(|| Arc::clone(&self.sink));
        lock(&self.staged.files).insert(self.name.clone(), FileState::Finished { entry, unsynced });
        Ok(())
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.filled == self.buffer.len() {
            let next = self.staged.pool.shared().buffer();
            self.submit(next).map_err(as_io_error)?;
        }
        let count = bytes.len().min(self.buffer.len() - self.filled);
        self.buffer[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        self.content += count as u64;
        Ok(count)
    }

    /// Nothing to do: a chunk is written when it is full, and the rest when the file is finished.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.staged.pool.shared().recycle(std::mem::take(&mut self.buffer));
    }
}

/// Keeps the kind, such as a full store, for those who look only at that.
fn as_io_error(error: StageError) -> io::Error {
    let errno = if let StageError::Store(store) = &error { store.raw_os_error() } else { None };
    let kind = errno.map_or(io::ErrorKind::Other, |errno| io::Error::from_raw_os_error(errno).kind());
    io::Error::new(kind, error)
}
