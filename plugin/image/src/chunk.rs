//! What authenticates a file of an image: a keyed BLAKE3 of each chunk, a table of these, and one of the table.
//!
//! A file in the store is its chunks as they are kept, one after the other, and then its table, with one
//! entry of 40 bytes per chunk. The manifest holds the table's keyed BLAKE3, so from an authentic manifest
//! every chunk can be found and authenticated alone, in any order. The keys are made from the image's and
//! the file's identity, so that nothing made for one place passes in another. No I/O here.

use crate::codec::Encoding;
use crate::key::{FileKey, Key};
use stasis_contract::{Compression, FileEntry, Origin};

/// Bytes of content in each chunk but the last of a file. See the table in the crate's documentation.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// Largest chunk that is read, in bytes of content: what bounds a reader's memory.
pub(crate) const CHUNK_BYTES_MAX: u32 = 16 << 20;
/// Bytes of one entry of a file's table.
pub(crate) const ENTRY_BYTES: usize = 40;

const MAC_BYTES: usize = blake3::OUT_LEN;

/// One chunk, as its file's table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stored: u32,
    pub(crate) encoding: Encoding,
    pub(crate) mac: [u8; MAC_BYTES],
}

impl Entry {
    pub(crate) fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.stored.to_le_bytes());
        bytes[4] = self.encoding as u8;
        bytes[8..].copy_from_slice(&self.mac);
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (stored, rest) = bytes.split_first_chunk::<4>()?;
        let encoding = Encoding::from_byte(rest[0])?;
        let mac = *rest[4..].first_chunk::<MAC_BYTES>()?;
        (rest[1..4] == [0; 3]).then_some(Self { stored: u32::from_le_bytes(*stored), encoding, mac })
    }
}

/// Which chunk of its file it is, and how it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) index: u64,
    pub(crate) last: bool,
    pub(crate) plain: u32,
    pub(crate) encoding: Encoding,
}

/// The keys of one file of one image.
#[derive(Debug)]
pub(crate) struct Seal {
    chunks: FileKey,
    table: FileKey,
}

impl Seal {
    /// The seal of the file `name` in the image that `origin` tells of.
    pub(crate) fn new(
        key: &Key,
        origin: &Place,
        name: &str,
        compression: Compression,
        chunk_bytes: u32,
    ) -> Self {
        let place = origin.encode(name, compression, chunk_bytes);
        Self { chunks: key.file_key("chunks", &place), table: key.file_key("table", &place) }
    }

    /// Authenticates one chunk as it is kept. The header comes last, which leaves the content aligned.
    pub(crate) fn chunk(&self, header: Header, stored: &[u8]) -> blake3::Hash {
        let mut tail = [0; 24];
        tail[..8].copy_from_slice(&header.index.to_le_bytes());
        tail[8..16].copy_from_slice(&(stored.len() as u64).to_le_bytes());
        tail[16..20].copy_from_slice(&header.plain.to_le_bytes());
        tail[20] = header.encoding as u8;
        tail[21] = u8::from(header.last);
        self.chunks.hasher().update(stored).update(&tail).finalize()
    }

    /// Authenticates a file's table, and with it the content's length.
    pub(crate) fn table(&self, table: &[u8], content_bytes: u64) -> blake3::Hash {
        self.table.hasher().update(table).update(&content_bytes.to_le_bytes()).finalize()
    }
}

/// The identity of an image, which every authentication in it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cluster: String,
    pub(crate) job_id: u32,
    pub(crate) uid: u32,
    pub(crate) image: u32,
}

impl Place {
    pub(crate) fn of(origin: &Origin) -> Self {
        let Origin { cluster, job_id, uid, image, .. } = origin;
        Self { cluster: cluster.clone(), job_id: *job_id, uid: *uid, image: *image }
    }

    /// Every text comes with its length, so no two places have one encoding.
    fn encode(&self, name: &str, compression: Compression, chunk_bytes: u32) -> Vec<u8> {
        let mut place = Vec::with_capacity(64 + self.cluster.len() + name.len());
        for text in [&*self.cluster, name] {
            place.extend((text.len() as u64).to_le_bytes());
            place.extend(text.as_bytes());
        }
        for number in [self.job_id, self.uid, self.image, chunk_bytes] {
            place.extend(number.to_le_bytes());
        }
        place.push(match compression {
            Compression::None => 0,
            Compression::Lz4 => 1,
            Compression::Zstd => 2,
        });
        place
    }
}

/// Where the chunks of a file lie in the store, once its table is authenticated.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    offsets: Vec<u64>,
    chunk_bytes: u32,
    content_bytes: u64,
}

impl Table {
    /// How many chunks this file has.
    pub(crate) fn chunk_count(entry: &FileEntry) -> u64 {
        entry.bytes.div_ceil(u64::from(entry.chunk_bytes.max(1)))
    }

    /// Bytes of this file's table, if that can be.
    pub(crate) fn bytes(entry: &FileEntry) -> Option<u64> {
        let possible = (1..=CHUNK_BYTES_MAX).contains(&entry.chunk_bytes);
        let bytes = Self::chunk_count(entry).checked_mul(ENTRY_BYTES as u64)?;
        (possible && bytes <= entry.stored_bytes).then_some(bytes)
    }

    /// Reads an authenticated table. `None` when it does not describe the file that the manifest tells of.
    pub(crate) fn parse(bytes: &[u8], entry: &FileEntry) -> Option<Self> {
        let (raw, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || raw.len() as u64 != Self::chunk_count(entry) {
            return None;
        }
        let entries: Vec<Entry> = raw.iter().map(Entry::from_bytes).collect::<Option<_>>()?;
        let mut table = Self {
            offsets: Vec::with_capacity(entries.len()),
            entries: Vec::new(),
            chunk_bytes: entry.chunk_bytes,
            content_bytes: entry.bytes,
        };
        let mut offset = 0u64;
        for (index, chunk) in entries.iter().enumerate() {
            let plain = table.plain_bytes(index as u64);
            let fits = match chunk.encoding {
                Encoding::Zero => chunk.stored == 0,
                Encoding::Raw => chunk.stored == plain,
                Encoding::Lz4 | Encoding::Zstd => chunk.stored < plain,
            };
            if !fits {
                return None;
            }
            table.offsets.push(offset);
            offset = offset.checked_add(u64::from(chunk.stored))?;
        }
        table.entries = entries;
        (offset.checked_add(bytes.len() as u64)? == entry.stored_bytes).then_some(table)
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The chunk's entry, and where it begins in the store.
    pub(crate) fn entry(&self, index: u64) -> Option<(&Entry, u64)> {
        let at = usize::try_from(index).ok()?;
        Some((self.entries.get(at)?, *self.offsets.get(at)?))
    }

    /// Bytes of content of a chunk of this file.
    pub(crate) fn plain_bytes(&self, index: u64) -> u32 {
        let begin = index.saturating_mul(u64::from(self.chunk_bytes));
        self.content_bytes.saturating_sub(begin).min(u64::from(self.chunk_bytes)) as u32
    }

    pub(crate) fn header(&self, index: u64, encoding: Encoding) -> Header {
        Header {
            index,
            last: index + 1 == self.entries.len() as u64,
            plain: self.plain_bytes(index),
            encoding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { cluster: "c".into(), job_id: 1, uid: 2, image: 3 }
    }

    fn seal(place: &Place, name: &str) -> Seal {
        Seal::new(&Key::for_tests(1), place, name, Compression::Lz4, 4096)
    }

    const HEADER: Header = Header { index: 0, last: false, plain: 5, encoding: Encoding::Raw };

    #[test]
    fn nothing_made_for_one_place_passes_in_another() {
        let mac = seal(&place(), "a").chunk(HEADER, b"bytes");
        assert_eq!(mac, seal(&place(), "a").chunk(HEADER, b"bytes"));
        let others = [
            seal(&Place { cluster: "d".into(), ..place() }, "a"),
            seal(&Place { job_id: 2, ..place() }, "a"),
            seal(&Place { uid: 1, ..place() }, "a"),
            seal(&Place { image: 4, ..place() }, "a"),
            seal(&place(), "b"),
            Seal::new(&Key::for_tests(2), &place(), "a", Compression::Lz4, 4096),
            Seal::new(&Key::for_tests(1), &place(), "a", Compression::Zstd, 4096),
            Seal::new(&Key::for_tests(1), &place(), "a", Compression::Lz4, 8192),
        ];
        for other in &others {
            assert_ne!(mac, other.chunk(HEADER, b"bytes"));
            assert_ne!(seal(&place(), "a").table(b"t", 1), other.table(b"t", 1));
        }
        let headers = [
            Header { index: 1, ..HEADER },
            Header { last: true, ..HEADER },
            Header { plain: 6, ..HEADER },
            Header { encoding: Encoding::Lz4, ..HEADER },
        ];
        for header in headers {
            assert_ne!(mac, seal(&place(), "a").chunk(header, b"bytes"));
        }
        assert_ne!(mac, seal(&place(), "a").chunk(HEADER, b"byteS"));
        assert_ne!(seal(&place(), "a").table(b"t", 1), seal(&place(), "a").table(b"t", 2));
        assert_ne!(
            seal(&place(), "a").table(b"", 0).as_bytes(),
            seal(&place(), "a").chunk(HEADER, b"").as_bytes()
        );
    }

    #[test]
    fn a_boundary_between_names_cannot_be_moved() {
        let one = Place { cluster: "ab".into(), ..place() };
        let two = Place { cluster: "a".into(), ..place() };
        assert_ne!(one.encode("c", Compression::None, 1), two.encode("bc", Compression::None, 1));
    }

    #[test]
    fn a_table_that_does_not_fit_its_file_is_not_read() {
        let entry = FileEntry {
            name: "a".into(),
            bytes: 5000,
            stored_bytes: 4096 + 10 + 80,
            compression: Compression::Lz4,
            chunk_bytes: 4096,
            mac: String::new(),
        };
        let chunk = |stored, encoding| Entry { stored, encoding, mac: [7; 32] }.to_bytes();
        let good = [chunk(4096, Encoding::Raw), chunk(10, Encoding::Lz4)].concat();
        let table = Table::parse(&good, &entry).unwrap();
        assert_eq!((table.len(), table.plain_bytes(0), table.plain_bytes(1)), (2, 4096, 904));
        assert_eq!(table.entry(1).unwrap().1, 4096);
        assert_eq!(Table::bytes(&entry), Some(80));
        let bad = [
            good[..40].to_vec(),
            good[..79].to_vec(),
            [chunk(4097, Encoding::Raw), chunk(9, Encoding::Lz4)].concat(),
            [chunk(4096, Encoding::Lz4), chunk(10, Encoding::Lz4)].concat(),
            [chunk(4096, Encoding::Raw), chunk(10, Encoding::Zero)].concat(),
            [chunk(4096, Encoding::Raw), chunk(11, Encoding::Lz4)].concat(),
            [&good[..4], &[4], &good[5..]].concat(),
            [&good[..5], &[1], &good[6..]].concat(),
        ];
        for bytes in bad {
            assert!(Table::parse(&bytes, &entry).is_none());
        }
        assert_eq!(Table::bytes(&FileEntry { bytes: u64::MAX, ..entry.clone() }), None);
        assert_eq!(Table::bytes(&FileEntry { chunk_bytes: 0, ..entry.clone() }), None);
        assert_eq!(Table::bytes(&FileEntry { chunk_bytes: CHUNK_BYTES_MAX + 1, ..entry }), None);
    }
}
