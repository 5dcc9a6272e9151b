//! Packing what CRIU dumps while it dumps it: by the time it is done, most of it is authenticated and in the store.

use crate::bundle::{self, Files};
use crate::checkpoint::CheckpointError;
use stasis_capsule::stream;
use stasis_contract::Compression;
use stasis_image::{StageError, StagedImage};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Up to so many bytes, a file goes into the bundle.
const SMALL_BYTES: u64 = 256 << 10;

/// An image that CRIU's files are poured into, each by a thread of its own: CRIU has several open at once, and
/// leaves one half written for another.
#[derive(Debug)]
pub struct Packer {
    staged: Arc<StagedImage>,
    small: Arc<Mutex<Files>>,
    compression: Compression,
    files: Vec<io::Result<JoinHandle<Result<(), StageError>>>>,
}

impl Packer {
    /// Packs into this image.
    pub fn new(staged: StagedImage, compression: Compression) -> Self {
        Self { staged: Arc::new(staged), small: Arc::default(), compression, files: Vec::new() }
    }

    /// The image.
    pub fn staged(&self) -> &StagedImage {
        &self.staged
    }

    /// Begins to pack a file that comes through a pipe. When it cannot go on it stops reading, and CRIU fails.
    pub fn file(&mut self, name: String, pipe: File) {
        let (staged, small, compression) =
            (Arc::clone(&self.staged), Arc::clone(&self.small), self.compression);
        let pack = move || pack(name, pipe, &small, &staged, compression);
        self.files.push(Builder::new().name("stasis-pack".into()).spawn(pack));
    }

    /// Waits until every file has ended. The image is whole then, but for what others put into it.
    pub fn finish(self) -> Result<StagedImage, CheckpointError> {
        // Threads hold the image: all are waited for before the first failure is returned.
        let ended: Vec<_> = self.files.into_iter().map(|thread| Ok(thread?.join())).collect();
        for result in ended {
            match result {
                Ok(Ok(packed)) => packed?,
                Ok(Err(_)) => return Err(CheckpointError::Internal("packing a file panicked")),
                Err(source) => return Err(CheckpointError::Threads(source)),
            }
        }
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
) -> Result<(), StageError> {
    let mut content = Vec::new();
    let read = pipe.by_ref().take(SMALL_BYTES + 1).read_to_end(&mut content);
    read.map_err(|source| StageError::Source { name: name.clone(), source })?;
    if content.len() as u64 <= SMALL_BYTES {
        small.lock().unwrap_or_else(PoisonError::into_inner).insert(name, content);
        return Ok(());
    }
    stream::widen(&pipe);
    staged.add(&name, compression, content[..].chain(pipe)).map(drop)
}
