//! A file of an image as a stream: for CRIU's pages and the archives of private folders.
//!
//! Chunks are read, authenticated and decoded ahead on all cores; no unauthenticated byte is ever given out.
//! That the whole file is authentic is known only at its end.

use crate::chunk::CHUNK_BYTES;
use crate::credentials::assert_not_worn;
use crate::pool::thread_count;
use crate::refusal::Refusal;
use crate::verified::{ChunkReader, VerifiedFile, VerifiedManifest};
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Chunks that each thread is ahead.
const AHEAD: usize = 2;
/// Files of up to so many chunks are read without further threads.
const CHUNKS_INLINE: u64 = 2;

type Decoded = Result<Vec<u8>, Refusal>;

/// The verified content of one file, from its beginning. An error wraps the [`Refusal`].
#[derive(Debug)]
pub struct VerifiedReader {
    source: Source,
    file: Arc<VerifiedFile>,
    next: u64,
    current: Vec<u8>,
    given: usize,
    failed: bool,
    spare: Vec<u8>,
    recycled: usize,
}

#[derive(Debug)]
enum Source {
    Inline(Box<ChunkReader>),
    Ahead { lanes: Vec<Lane>, threads: Vec<JoinHandle<()>> },
}

/// One thread's results: lane `i` of `n` has chunks `i`, `i + n`, `i + 2n`, in that order.
#[derive(Debug)]
struct Lane {
    chunks: Receiver<Decoded>,
    used: SyncSender<Vec<u8>>,
}

impl VerifiedManifest {
    /// Streams the content of a file, authenticated chunk by chunk.
    ///
    /// # Errors
    /// When the image has no such file, or it is not as it was written.
    pub fn reader(&self, name: &str) -> Result<VerifiedReader, Refusal> {
        let file = Arc::new(self.file(name)?);
        let source = if file.chunk_count() <= CHUNKS_INLINE {
            Source::Inline(Box::default())
        } else {
            Source::start(&file)
                .map_err(|error| crate::StoreError::io("start threads for", self.path(), error))?
        };
        Ok(VerifiedReader {
            source,
            file,
            next: 0,
            current: Vec::new(),
            given: 0,
            failed: false,
            spare: Vec::new(),
            recycled: 0,
        })
    }
}

impl Source {
    fn start(file: &Arc<VerifiedFile>) -> io::Result<Self> {
        assert_not_worn();
        let count = thread_count();
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for lane in 0..count {
            let (sender, chunks) = sync_channel(AHEAD);
            let (used, spare) = sync_channel(AHEAD + 1);
            let file = Arc::clone(file);
            let indices = (lane as u64..file.chunk_count()).step_by(count);
            let builder = std::thread::Builder::new().name("stasis-image".into());
            threads.push(builder.spawn(move || read_ahead(&file, indices, &sender, &spare))?);
            lanes.push(Lane { chunks, used });
        }
        Ok(Self::Ahead { lanes, threads })
    }
}

fn read_ahead(
    file: &VerifiedFile,
    indices: impl Iterator<Item = u64>,
    sender: &SyncSender<Decoded>,
    spare: &Receiver<Vec<u8>>,
) {
    let mut reader = ChunkReader::default();
    for index in indices {
        let mut buffer = spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES));
        let decoded = file.chunk(index, &mut reader, &mut buffer).map(|()| buffer);
        let failed = decoded.is_err();
        if sender.send(decoded).is_err() || failed {
            return;
        }
    }
}

impl VerifiedReader {
    /// Bytes of content that are still to come.
    pub fn left(&self) -> u64 {
        let entry = self.file.entry();
        let begun = entry.bytes.min(self.next * u64::from(entry.chunk_bytes));
        entry.bytes - begun + (self.current.len() - self.given) as u64
    }

    /// The next chunk's content, or what is left of the present one, to keep; empty at the end.
    ///
    /// # Errors
    /// The [`Refusal`], wrapped.
    pub fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        self.fill_buf()?;
        let mut chunk = std::mem::take(&mut self.current);
        chunk.drain(..std::mem::take(&mut self.given));
        Ok(chunk)
    }

    /// Gives back a chunk's memory, to be filled again.
    pub fn recycle(&mut self, chunk: Vec<u8>) {
        match &self.source {
            Source::Inline(_) => self.spare = chunk,
            Source::Ahead { lanes, .. } => {
                self.recycled += 1;
                // Lanes that have enough let it go.
                let _ = lanes[self.recycled % lanes.len()].used.try_send(chunk);
            }
        }
    }

    fn advance(&mut self) -> Result<(), Refusal> {
        let used = std::mem::take(&mut self.current);
        self.given = 0;
        if used.capacity() > 0 {
            self.recycle(used);
        }
        match &mut self.source {
            Source::Inline(reader) => {
                let mut chunk = std::mem::take(&mut self.spare);
                self.file.chunk(self.next, reader, &mut chunk)?;
                self.current = chunk;
            }
            Source::Ahead { lanes, .. } => {
                let lane = &lanes[(self.next % lanes.len() as u64) as usize];
                let died = || Refusal::Malformed(format!("reading {} ended early", self.file.entry().name));
                self.current = lane.chunks.recv().map_err(|_| died())??;
            }
        }
        self.next += 1;
        Ok(())
    }
}

impl BufRead for VerifiedReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let refused = |reason: Box<dyn std::error::Error + Send + Sync>| {
            io::Error::new(io::ErrorKind::InvalidData, reason)
        };
        if self.failed {
            return Err(refused("an earlier part of this file was refused".into()));
        }
        if self.given == self.current.len()
            && self.next < self.file.chunk_count()
            && let Err(refusal) = self.advance()
        {
            self.failed = true;
            self.current.clear();
            return Err(refused(refusal.into()));
        }
        Ok(&self.current[self.given..])
    }

    fn consume(&mut self, count: usize) {
        self.given += count;
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let buffered = self.fill_buf()?;
        let count = out.len().min(buffered.len());
        out[..count].copy_from_slice(&buffered[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Drop for VerifiedReader {
    fn drop(&mut self) {
        if let Source::Ahead { lanes, threads } = &mut self.source {
            // With the receivers gone each thread ends at its next chunk.
            lanes.clear();
            for thread in threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
