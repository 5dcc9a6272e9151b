//! One file of an image while it is written: its chunks in order, its table, its place on disk.
//!
//! Chunks arrive from several threads in any order. This file knows the layout of a file in the store; it
//! opens nothing and names nothing.

use crate::chunk::{CHUNK_BYTES, ENTRY_BYTES, Entry, Header, Seal};
use crate::codec::{Encoder, Encoding};
use crate::error::StoreError;
use crate::pool::{Permit, Shared, Task, lock, wait};
use nix::fcntl::{FallocateFlags, fallocate};
use stasis_contract::Compression;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Brought to the storage whenever this many bytes wait for it.
const WRITEBACK_BYTES: u64 = 16 << 20;
/// Room is asked for in pieces of this many bytes, once a file has more than one chunk: local file systems then fill
/// their cache in half the time. What is too much is given back at the end.
const ROOM_BYTES: u64 = 64 << 20;
/// Unit of writeback: a page that is only half written is left for later.
const PAGE_BYTES: u64 = 4096;

/// A file that chunks are poured into.
pub(crate) struct Sink {
    file: Arc<File>,
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
    /// The chunks that have their place and are not yet written.
    placed: VecDeque<(u64, Sealed)>,
    /// Whether a thread is writing: more than one would only wait for the file's lock in the kernel.
    writing: bool,
    /// Up to where writeback was begun.
    begun: u64,
    /// Up to where room was asked for.
    room: u64,
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
        Self {
            file: Arc::new(file),
            path,
            seal,
            compression,
            state: Mutex::default(),
            settled: Condvar::new(),
        }
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
        let (encoding, stored) = self.encode(&content[..length], &mut out, encoder, pool)?;
        let (bytes, unused) = if encoding == Encoding::Raw { (content, out) } else { (out, content) };
        pool.recycle(unused);
        let header = Header { index, last, plain: length as u32, encoding };
        let mac = *self.seal.chunk(header, &bytes[..stored]).as_bytes();
        Ok((index, Sealed { entry: Entry { stored: stored as u32, encoding, mac }, bytes, permit }))
    }

    /// Compresses the content, unless it is written sooner as it is.
    fn encode(
        &self,
        plain: &[u8],
        out: &mut [u8],
        encoder: &mut Encoder,
        pool: &Shared,
    ) -> io::Result<(Encoding, usize)> {
        if self.compression == Compression::Lz4 && !lock(&pool.pace).compresses() {
            return encoder.encode(Compression::None, plain, out);
        }
        let started = Instant::now();
        let (encoding, stored) = encoder.encode(self.compression, plain, out)?;
        if encoding != Encoding::Zero {
            lock(&pool.pace).encoded(plain.len(), stored, started.elapsed());
        }
        Ok((encoding, stored))
    }

    /// Gives the chunk its place, and all that waited for it theirs, and writes them, unless another thread is
    /// writing: then that one does.
    fn settle(&self, (index, sealed): (u64, Sealed), pool: &Shared) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.waiting.insert(index, sealed);
        while let Some(sealed) = {
            let next = state.table.len() as u64;
            state.waiting.remove(&next)
        } {
            let offset = state.end;
            state.end += u64::from(sealed.entry.stored);
            state.table.push(sealed.entry.clone());
            state.placed.push_back((offset, sealed));
        }
        if state.writing {
            return Ok(());
        }
        state.writing = true;
        while let Some((offset, sealed)) = state.placed.pop_front() {
            drop(state);
            let written = self.write(offset, sealed, pool);
            state = lock(&self.state);
            if written.is_err() {
                // The file has failed. Chunks that are still to come give up at once.
                state.placed.clear();
                state.writing = false;
                return written;
            }
        }
        state.writing = false;
        Ok(())
    }

    fn write(&self, offset: u64, sealed: Sealed, pool: &Shared) -> io::Result<()> {
        let stored = sealed.entry.stored as usize;
        self.make_room(offset, offset + stored as u64);
        self.file.write_all_at(&sealed.bytes[..stored], offset)?;
        self.begin_writeback(offset + stored as u64, pool);
        pool.recycle(sealed.bytes);
        drop(sealed.permit);
        Ok(())
    }

    /// Asks for room ahead of a chunk that is not the first. Where there is none, or the file system cannot do this,
    /// the chunk itself will show.
    fn make_room(&self, offset: u64, end: u64) {
        let mut state = lock(&self.state);
        if offset == 0 || end <= state.room {
            return;
        }
        let from = state.room.max(offset);
        state.room = end + ROOM_BYTES;
        let length = (state.room - from) as libc::off_t;
        drop(state);
        let _ = fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from as libc::off_t, length);
    }

    /// Has what lies before `end` brought to the storage, once there is enough of it.
    fn begin_writeback(&self, end: u64, pool: &Shared) {
        let mut state = lock(&self.state);
        let (begin, end) = (state.begun, end / PAGE_BYTES * PAGE_BYTES);
        if end - begin < WRITEBACK_BYTES {
            return;
        }
        state.begun = end;
        drop(state);
        pool.flusher.begin(&self.file, begin, end - begin);
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
        if state.room > stored {
            self.file.set_len(stored).map_err(|source| StoreError::io("write", &self.path, source))?;
        }
        Ok((stored, self.seal.table(&table, content_bytes)))
    }

    /// Makes the file durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|source| StoreError::io("fsync", &self.path, source))
    }
}
