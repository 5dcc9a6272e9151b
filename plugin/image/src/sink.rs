//! One file of an image while it is written: its chunks in order, its table, its place on disk.
//!
//! Chunks arrive from several threads in any order. This file knows the layout of a file in the store; it
//! opens nothing and names nothing.

use crate::chunk::{CHUNK_BYTES, ENTRY_BYTES, Entry, Header, Seal};
use crate::codec::{Encoder, Encoding};
use crate::error::StoreError;
use crate::pool::{Permit, Shared, Task, lock, wait};
use stasis_contract::Compression;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

/// Writeback is begun whenever this many bytes wait for it, so that the fsync at commit finds little to do.
const WRITEBACK_BYTES: u64 = 8 << 20;
/// Unit of writeback: a page that is only half written is left for later.
const PAGE_BYTES: u64 = 4096;

/// A file that chunks are poured into.
pub(crate) struct Sink {
    file: File,
    path: PathBuf,
    seal: Seal,
    compression: Compression,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Default)]
struct State {
    /// Compressed, and waiting for one before them.
    waiting: BTreeMap<u64, Sealed>,
    /// The chunks that have their place in the file.
    table: Vec<Entry>,
    /// Where the next chunk goes.
    end: u64,
    /// Up to where writeback was begun.
    begun: u64,
    /// Chunks handed over and not yet dealt with.
    outstanding: u64,
    failure: Option<StoreError>,
    failed: bool,
}

/// A chunk as it will be kept.
struct Sealed {
    entry: Entry,
    bytes: Vec<u8>,
    permit: Option<Permit>,
}

/// Counts a chunk as dealt with, whatever becomes of it.
struct Settle<'a> {
    sink: &'a Sink,
    done: bool,
}

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.sink.state);
        state.outstanding -= 1;
        state.failed |= !self.done;
        self.sink.settled.notify_all();
    }
}

impl Sink {
    pub(crate) fn new(file: File, path: PathBuf, seal: Seal, compression: Compression) -> Self {
        Self { file, path, seal, compression, state: Mutex::default(), settled: Condvar::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Announces a chunk. Every announced chunk is processed, failed or abandoned.
    pub(crate) fn announce(&self) {
        lock(&self.state).outstanding += 1;
    }

    /// Counts an announced chunk as failed.
    pub(crate) fn fail(&self, error: StoreError) {
        let settle = Settle { sink: self, done: false };
        lock(&self.state).failure.get_or_insert(error);
        drop(settle);
    }

    /// Counts an announced chunk as never to be written.
    pub(crate) fn abandon(&self) {
        let source = io::Error::other("the image was abandoned");
        self.fail(StoreError::Io { verb: "write", path: self.path.clone(), source });
    }

    /// Returns the first failure, once; then only that there was one.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.check_state(&mut lock(&self.state))
    }

    fn check_state(&self, state: &mut State) -> Result<(), StoreError> {
        if !state.failed {
            return Ok(());
        }
        let again = || io::Error::other("an earlier write to this file failed");
        Err(state.failure.take().unwrap_or_else(|| StoreError::Io {
            verb: "write",
            path: self.path.clone(),
            source: again(),
        }))
    }

    /// Compresses, authenticates and writes an announced chunk.
    pub(crate) fn process(&self, task: Task, permit: Option<Permit>, encoder: &mut Encoder, pool: &Shared) {
        let mut settle = Settle { sink: self, done: false };
        if lock(&self.state).failed {
            return;
        }
        match self.seal_chunk(task, permit, encoder, pool).and_then(|chunk| self.settle(chunk, pool)) {
            Ok(()) => settle.done = true,
            Err(source) => {
                let error = StoreError::io("write", &self.path, source);
                lock(&self.state).failure.get_or_insert(error);
            }
        }
    }

    fn seal_chunk(
        &self,
        task: Task,
        permit: Option<Permit>,
        encoder: &mut Encoder,
        pool: &Shared,
    ) -> io::Result<(u64, Sealed)> {
        let Task { index, last, content, length, .. } = task;
        let mut out = pool.buffer();
        let (encoding, stored) = encoder.encode(self.compression, &content[..length], &mut out)?;
        let (bytes, unused) = if encoding == Encoding::Raw { (content, out) } else { (out, content) };
        pool.recycle(unused);
        let header = Header { index, last, plain: length as u32, encoding };
        let mac = *self.seal.chunk(header, &bytes[..stored]).as_bytes();
        Ok((index, Sealed { entry: Entry { stored: stored as u32, encoding, mac }, bytes, permit }))
    }

    /// Gives the chunk its place, and all that waited for it theirs, and writes them.
    fn settle(&self, (index, sealed): (u64, Sealed), pool: &Shared) -> io::Result<()> {
        let mut placed = Vec::new();
        let mut state = lock(&self.state);
        state.waiting.insert(index, sealed);
        while let Some(sealed) = {
            let next = state.table.len() as u64;
            state.waiting.remove(&next)
        } {
            placed.push((state.end, sealed.entry.stored as usize, sealed.bytes, sealed.permit));
            state.end += u64::from(sealed.entry.stored);
            state.table.push(sealed.entry);
        }
        drop(state);
        for (offset, stored, bytes, permit) in placed {
            self.file.write_all_at(&bytes[..stored], offset)?;
            pool.recycle(bytes);
            drop(permit);
        }
        self.begin_writeback();
        Ok(())
    }

    fn begin_writeback(&self) {
        let mut state = lock(&self.state);
        let (begin, end) = (state.begun, state.end / PAGE_BYTES * PAGE_BYTES);
        if end - begin < WRITEBACK_BYTES {
            return;
        }
        state.begun = end;
        drop(state);
        start_writeback(&self.file, begin, end - begin);
    }

    /// Waits until every announced chunk is written, and writes the table. Returns the file's bytes in the
    /// store and its table's authentication.
    pub(crate) fn finish(&self, content_bytes: u64) -> Result<(u64, blake3::Hash), StoreError> {
        let mut state = lock(&self.state);
        while state.outstanding > 0 {
            state = wait(&self.settled, state);
        }
        self.check_state(&mut state)?;
        assert_eq!(
            state.table.len() as u64,
            content_bytes.div_ceil(CHUNK_BYTES as u64),
            "every chunk has its entry"
        );
        let mut table = Vec::with_capacity(state.table.len() * ENTRY_BYTES);
        for entry in &state.table {
            table.extend(entry.to_bytes());
        }
        self.file
            .write_all_at(&table, state.end)
            .map_err(|source| StoreError::io("write", &self.path, source))?;
        let stored = state.end + table.len() as u64;
        start_writeback(&self.file, state.begun, stored - state.begun);
        Ok((stored, self.seal.table(&table, content_bytes)))
    }

    /// Makes the file durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|source| StoreError::io("fsync", &self.path, source))
    }
}

/// Asks the kernel to begin writing a range of a file. Only a hint: failures show at fsync.
fn start_writeback(file: &File, offset: u64, length: u64) {
    let (offset, length) = (offset as libc::off64_t, length as libc::off64_t);
    // SAFETY: the descriptor is open as long as `file` is borrowed; no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}
