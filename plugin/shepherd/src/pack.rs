//! Packing what CRIU dumps while it dumps it: by the time it is done, most of it is authenticated and in the store.

use crate::bundle::{self, Files};
use crate::checkpoint::CheckpointError;
use stasis_capsule::{open_files, stream};
use stasis_contract::Compression;
use stasis_image::{StageError, StagedImage};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Up to so many bytes, a file goes into the bundle.
const SMALL_BYTES: u64 = 256 << 10;

/// Above so many threads, those that have ended are looked for.
const THREADS_KEPT: usize = 64;

/// An image that CRIU's files are poured into, each by a thread of its own: CRIU has several open at once, and
/// leaves one half written for another.
#[derive(Debug)]
pub struct Packer {
    staged: Arc<StagedImage>,
    small: Arc<Mutex<Files>>,
    /// Whether CRIU has written of files that were deleted or renamed.
    remaps: bool,
    compression: Compression,
    threads: Vec<JoinHandle<Result<(), StageError>>>,
    /// Held by each thread while it reads from CRIU.
    reading: Option<Sender<Infallible>>,
    all_read: Receiver<Infallible>,
    /// What failed first.
    failure: Option<CheckpointError>,
}

impl Packer {
    /// Packs into this image.
    pub fn new(staged: StagedImage, compression: Compression) -> Self {
        let (reading, all_read) = channel();
        Self {
            staged: Arc::new(staged),
            small: Arc::default(),
            remaps: false,
            compression,
            threads: Vec::new(),
            reading: Some(reading),
            all_read,
            failure: None,
        }
    }

    /// The image.
    pub fn staged(&self) -> &Arc<StagedImage> {
        &self.staged
    }

    /// Begins to pack a file that comes through a pipe. When it cannot go on it stops reading, and CRIU fails.
    pub fn file(&mut self, name: String, pipe: File) {
        self.remaps |= name == open_files::REMAPS;
        let (staged, small, compression) =
            (Arc::clone(&self.staged), Arc::clone(&self.small), self.compression);
        let reading = self.reading.clone();
        let pack = move || pack(name, pipe, &small, &staged, compression, reading);
        match Builder::new().name("stasis-pack".into()).spawn(pack) {
            Ok(thread) => self.threads.push(thread),
            Err(source) => drop(self.failure.get_or_insert(CheckpointError::Threads(source))),
        }
        if self.threads.len() > THREADS_KEPT {
            self.join(JoinHandle::is_finished);
        }
    }

    /// Takes leave of these threads. One that has ended keeps its stack until then, and a session may have thousands of
    /// files.
    fn join(&mut self, which: impl Fn(&JoinHandle<Result<(), StageError>>) -> bool) {
        for thread in self.threads.extract_if(.., |thread| which(thread)) {
            let failure = match thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.into(),
                Err(_) => CheckpointError::Internal("packing a file panicked"),
            };
            self.failure.get_or_insert(failure);
        }
    }

    /// Waits until every file has been read, or its thread has failed; some may not be written yet. No further file may
    /// begin after that.
    pub fn wait_read(&mut self) {
        self.reading = None;
        // Nothing is ever sent: this ends when the last thread has let go.
        let _ = self.all_read.recv();
    }

    /// Waits until every file is written.
    pub fn wait(&mut self) -> Result<(), CheckpointError> {
        self.join(|_| true);
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Whether CRIU has made names for files that are open and have been deleted. Known once every file has been read.
    pub fn has_links(&self) -> bool {
        let small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
        self.remaps && small.get(open_files::REMAPS).is_none_or(|remaps| open_files::has_links(remaps))
    }

    /// The image, whole but for what others put into it.
    pub fn finish(mut self) -> Result<StagedImage, CheckpointError> {
        self.wait()?;
        let small = std::mem::take(&mut *self.small.lock().unwrap_or_else(PoisonError::into_inner));
        let bundle = bundle::join(&small).ok_or(CheckpointError::Internal("a small file is too long"))?;
        self.staged.add(bundle::NAME, self.compression, &bundle[..])?;
        Arc::into_inner(self.staged).ok_or(CheckpointError::Internal("the image is still being written"))
    }
}

fn pack(
    name: String,
    mut pipe: File,
    small: &Mutex<Files>,
    staged: &StagedImage,
    compression: Compression,
    reading: Option<Sender<Infallible>>,
) -> Result<(), StageError> {
    let mut content = Vec::new();
    let read = pipe.by_ref().take(SMALL_BYTES + 1).read_to_end(&mut content);
    read.map_err(|source| StageError::Source { name: name.clone(), source })?;
    if content.len() as u64 <= SMALL_BYTES {
        small.lock().unwrap_or_else(PoisonError::into_inner).insert(name, content);
        return Ok(());
    }
    stream::widen(&pipe);
    let mut file = staged.file(&name, compression)?;
    file.pour(content[..].chain(pipe))?;
    drop(reading);
    file.finish().map(drop)
}
