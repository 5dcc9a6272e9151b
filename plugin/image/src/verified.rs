//! An image whose manifest is authentic, and its files, of which no byte is handed out unauthenticated.
//!
//! The store's owner can change a file at any moment. Each chunk is therefore read into memory once, and it
//! is this memory that is authenticated and decoded; nothing is read twice and nothing is mapped.

use crate::chunk::{Entry, Header, Place, Seal, Table};
use crate::codec::{Decoder, Encoding};
use crate::credentials::User;
use crate::error::StoreError;
use crate::key::Key;
use crate::refusal::Refusal;
use crate::walk::Dir;
use nix::fcntl::OFlag;
use stasis_contract::{FileEntry, Manifest};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// An image whose manifest and chunk tables are authentic, and that belongs here.
#[derive(Debug)]
pub struct VerifiedManifest {
    manifest: Manifest,
    dir: Dir,
    user: User,
    key: Key,
    place: Place,
}

impl VerifiedManifest {
    pub(crate) fn new(manifest: Manifest, dir: Dir, user: User, key: Key, place: Place) -> Self {
        Self { manifest, dir, user, key, place }
    }

    /// What the image says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The image's folder.
    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Opens a file of the image, to read any of its chunks in any order.
    ///
    /// # Errors
    /// When the image has no such file, or it is not as it was written.
    pub fn file(&self, name: &str) -> Result<VerifiedFile, Refusal> {
        let entry = self.entry(name)?;
        let worn = self.user.wear().map_err(StoreError::from)?;
        let file = self.dir.file(&worn, name, OFlag::O_RDONLY)?;
        let file = file.ok_or_else(|| Refusal::Missing(name.into()))?;
        drop(worn);
        VerifiedFile::open(file, entry, self)
    }

    /// The manifest's entry of a file.
    ///
    /// # Errors
    /// When the image has no such file.
    pub fn entry(&self, name: &str) -> Result<&FileEntry, Refusal> {
        let files = &self.manifest.files;
        let at = files.binary_search_by(|file| file.name.as_str().cmp(name));
        at.map(|at| &files[at]).map_err(|_| Refusal::Missing(name.into()))
    }

    /// Checks the presence, length and chunk table of every file.
    pub(crate) fn check_files(&self) -> Result<(), Refusal> {
        self.manifest.files.iter().try_for_each(|entry| self.file(&entry.name).map(drop))
    }
}

/// A file of a verified image. Its chunks can be read by several threads at once.
#[derive(Debug)]
pub struct VerifiedFile {
    file: File,
    path: PathBuf,
    entry: FileEntry,
    seal: Seal,
    table: Table,
}

/// Memory that one thread reads chunks with.
pub struct ChunkReader {
    stored: Vec<u8>,
    decoder: Decoder,
}

impl std::fmt::Debug for ChunkReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ChunkReader")
    }
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { stored: Vec::new(), decoder: Decoder::new() }
    }
}

impl VerifiedFile {
    fn open(file: File, entry: &FileEntry, image: &VerifiedManifest) -> Result<Self, Refusal> {
        let name = &entry.name;
        let path = image.dir.path_of(name);
        let failed = |source| StoreError::io("read", &path, source);
        let (found, expected) = (file.metadata().map_err(failed)?.len(), entry.stored_bytes);
        if found < expected {
            return Err(Refusal::Truncated { file: name.clone(), found, expected });
        }
        if found > expected {
            return Err(Refusal::Extended { file: name.clone(), found, expected });
        }
        let disagrees = || Refusal::Malformed(format!("it tells of {name} what cannot be"));
        let table_bytes = Table::bytes(entry).ok_or_else(disagrees)?;
        let mut table = vec![0; usize::try_from(table_bytes).map_err(|_| disagrees())?];
        read_exactly(&file, &mut table, expected - table_bytes, entry, &path)?;
        let seal = Seal::new(&image.key, &image.place, name, entry.compression, entry.chunk_bytes);
        let mac = blake3::Hash::from_hex(&entry.mac).map_err(|_| disagrees())?;
        if seal.table(&table, entry.bytes) != mac {
            return Err(Refusal::Edited(format!("the chunk table of {name}")));
        }
        let table = Table::parse(&table, entry).ok_or_else(disagrees)?;
        Ok(Self { file, path, entry: entry.clone(), seal, table })
    }

    /// What the manifest says of the file.
    pub fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// How many chunks the file has. Chunk `i` begins at byte `i * entry().chunk_bytes` of the content.
    pub fn chunk_count(&self) -> u64 {
        self.table.len()
    }

    /// Reads, authenticates and decodes one chunk, into `out` and nothing else.
    ///
    /// # Errors
    /// When there is no such chunk, it is not what was written, or the store cannot be read.
    pub fn chunk(&self, index: u64, reader: &mut ChunkReader, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let outside = || Refusal::Malformed(format!("{} has no chunk {index}", self.entry.name));
        let (entry, offset) = self.table.entry(index).ok_or_else(outside)?;
        let header = self.table.header(index, entry.encoding);
        let plain = header.plain as usize;
        match header.encoding {
            Encoding::Zero => {
                self.authentic(header, entry, offset, &mut reader.stored)?;
                out.clear();
                out.resize(plain, 0);
            }
            Encoding::Raw => self.authentic(header, entry, offset, out)?,
            Encoding::Lz4 | Encoding::Zstd => {
                self.authentic(header, entry, offset, &mut reader.stored)?;
                let stored = &reader.stored[..entry.stored as usize];
                self.decode(header, stored, resized(out, plain), &mut reader.decoder)?;
            }
        }
        out.truncate(plain);
        Ok(())
    }

    /// Reads a chunk as it is kept, to the beginning of `into`, and authenticates it there.
    fn authentic(
        &self,
        header: Header,
        entry: &Entry,
        offset: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let stored = resized(into, entry.stored as usize);
        read_exactly(&self.file, stored, offset, &self.entry, &self.path)?;
        if self.seal.chunk(header, stored) == entry.mac {
            Ok(())
        } else {
            Err(Refusal::Edited(format!("chunk {} of {}", header.index, self.entry.name)))
        }
    }

    fn decode(
        &self,
        header: Header,
        stored: &[u8],
        content: &mut [u8],
        decoder: &mut Decoder,
    ) -> Result<(), Refusal> {
        let decoded = decoder.decode(header.encoding, stored, content);
        decoded.map_err(|error| {
            Refusal::Malformed(format!("chunk {} of {}: {error}", header.index, self.entry.name))
        })
    }
}

/// The first `length` bytes of a buffer that only ever grows: to the largest chunk, which is bounded.
fn resized(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

fn read_exactly(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    entry: &FileEntry,
    path: &std::path::Path,
) -> Result<(), Refusal> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Refusal::Truncated {
            file: entry.name.clone(),
            found: file.metadata().map_or(0, |metadata| metadata.len()),
            expected: entry.stored_bytes,
        }),
        Err(error) => Err(StoreError::io("read", path, error).into()),
    }
}
