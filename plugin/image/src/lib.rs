//! The image store: stage, commit, verify, list and retain checkpoint images.
//!
//! Users' sessions are entrusted to this crate. It runs inside a root process, while everything in the store
//! belongs to users and can be anything; so paths are walked with the user's rights, and nothing read from
//! the store is believed before it is authenticated with a key that only root can read. It knows no CRIU
//! and no Slurm, and must not learn them.
//!
//! # A checkpoint and a restore
//!
//! ```no_run
//! use stasis_contract::{Compression, Origin, SessionState};
//! use stasis_image::{CommittedImage, Expected, Key, Store, User};
//! use std::path::Path;
//!
//! # fn sample(origin: Origin, session: SessionState) -> Result<(), Box<dyn std::error::Error>> {
//! let key = Key::load(Path::new("/etc/stasis/key"))?;
//! let user = User { uid: 1000, gid: 1000, groups: vec![1000, 27] };
//! let job = Store::open(Path::new("/shared/stasis"))?.job("cluster", 4711, user)?;
//!
//! let staged = job.begin(job.next_number()?, &key)?;
//! staged.add("tmp.tar", Compression::Lz4, std::io::stdin())?; // a pipe: any `Read`, also from other threads
//! let committed: CommittedImage = staged.commit(origin, session)?;
//! job.retain(2)?;
//! // `&committed` is the proof that a requeue asks for.
//!
//! let expected = Expected { cluster: "cluster".into(), job_id: 4711, uid: 1000, gid: Some(1000), restart_count: 1 };
//! for image in job.images()? {
//!     match image.open(&key, &expected) {
//!         Ok(verified) => {
//!             verified.reader("tmp.tar")?.pour_into(&std::fs::File::create("a pipe")?)?;
//!             break;
//!         }
//!         Err(refusal) => eprintln!("image {} is not restored: {refusal}", image.number()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The format
//!
//! ```text
//! STORE/<uid>/<cluster>/<job id>/events.jsonl
//! STORE/<uid>/<cluster>/<job id>/<image number, six digits>/<file>...
//!                                                          /manifest
//! STORE/<uid>/<cluster>/<job id>/.tmp-<number>-<process>-<count>/    not an image, yet or any more
//!
//! manifest   stasis-image <format> <MAC of "stasis-image <format>\n" and the JSON, in hexadecimal>
//!            JSON of stasis_contract::Manifest, and a newline
//! file       the chunks as they are kept, one after the other; then the table
//! table      for each chunk 40 bytes: stored length (u32, little-endian), encoding (u8), 3 zeros, MAC
//! ```
//!
//! A file's content is cut into chunks of equal length, the last one excepted. Each is kept as it is, as an
//! LZ4 block, as a Zstandard frame, or, if it is all zeros, not at all. MACs are keyed BLAKE3 under keys
//! derived from the site's key:
//!
//! * a chunk's covers its stored bytes, index, stored and plain length, encoding, and whether it is the last;
//! * the table's covers the table and the content's length, and stands in the manifest;
//! * both are made under keys of their own for this cluster, job, uid, image number, file name, compression
//!   and chunk length, so that nothing can be moved, exchanged, dropped or copied;
//! * the manifest's covers all the rest, under a key of its own for this version of the format.
//!
//! From an authentic manifest each chunk can thus be found and authenticated alone, in any order: a restore
//! can run while its pages are still fetched on demand ([`VerifiedFile::chunk`]).
//!
//! # What makes an image whole
//!
//! Files are made durable first, then the manifest is written aside, made durable and renamed into place,
//! then the folder is renamed from its staging name to its number, and each folder is made durable after
//! each rename. Whatever stops in between leaves a folder that no reader takes for an image.

//! # Speed, and what was chosen by it
//!
//! GB of content per second and core, so that a machine with n idle cores does about n times as much where
//! the storage is not the limit; one run of `cargo bench -p stasis-image -- table` on one AMD EPYC (family
//! 26) with the store in memory. `write` includes reading, compressing, authenticating, writing and the
//! commit; `session` is a quarter each of noise, code, counting integers and zeros.
//!
//! | content | compression | stored | write | stream |
//! |---|---|---|---|---|
//! | zeros | lz4 | 0.000 | 6.97 | 27.45 |
//! | noise | none | 1.000 | 1.11 | 3.17 |
//! | noise | lz4 | 1.000 | 1.16 | 3.35 |
//! | noise | zstd | 1.000 | 1.17 | 4.23 |
//! | code | none | 1.000 | 1.47 | 3.63 |
//! | code | lz4 | 0.987 | 1.26 | 3.10 |
//! | code | zstd | 0.266 | 0.37 | 1.02 |
//! | session | none | 0.750 | 1.35 | 4.47 |
//! | session | lz4 | 0.746 | 1.40 | 4.12 |
//! | session | zstd | 0.351 | 0.65 | 2.01 |
//!
//! LZ4 alone compresses the heap of a Python program to a third at 0.7 GB/s per core, which is less than storage in
//! memory or a local disk takes, so there all but a sample is left as it is; over a network it halves what has to go
//! there (see `pace.rs`). It is the default because it costs nothing where it does not help. Zstandard at level 1,
//! which always compresses, is for storage that is small, or slower than half a GB/s per core.
//!
//! Chunks of 1 MiB: of 128 KiB, 256 KiB, 512 KiB, 1 MiB and 4 MiB the middle ones were equally fast within what
//! differs from run to run, the smallest and the largest slower to stream (with LZ4, in the same order: 2.4, 2.8, 3.1,
//! 3.2 and 2.8), and 1 MiB is what network file systems move at once. LZ4 is the C library: the pure Rust one
//! compresses alike and decompressed runs of zeros at 0.5 GB/s instead of 18.

mod candidate;
mod chunk;
mod codec;
mod commit;
mod credentials;
mod error;
mod events;
mod fault;
mod flush;
mod key;
mod name;
mod pace;
mod pool;
mod reader;
mod refusal;
mod seal;
mod sink;
mod splice;
mod stage;
mod store;
mod verified;
mod walk;

pub use candidate::{Candidate, Expected, UnverifiedManifest};
pub use commit::CommittedImage;
pub use credentials::{CredentialError, User};
pub use error::StoreError;
pub use events::EventLog;
pub use key::{Key, KeyError};
pub use reader::VerifiedReader;
pub use refusal::Refusal;
pub use stage::{FileWriter, StageError, StagedImage};
pub use store::{Job, Listing, Removed, Store};
pub use verified::{ChunkReader, VerifiedFile, VerifiedManifest};

#[cfg(test)]
mod tests;
