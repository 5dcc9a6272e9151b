//! Why an image is not restored, in words for the job's output.
//!
//! A refusal is about the image: the next older one may be tried. It never is about the place it would be
//! restored to (see `extract.rs`).

use crate::error::StoreError;
use thiserror::Error;

/// Why an image is refused.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Its writer died before it was whole.
    #[error("it is torn: it has no manifest, so whatever wrote it never finished")]
    Torn,
    /// The manifest is not one, or is larger than any that Stasis writes.
    #[error("its manifest is damaged: {0}")]
    Malformed(String),
    /// Made by a later release.
    #[error("it has format {found}, and this release reads format {known}: restore it with a newer Stasis")]
    Newer {
        /// The image's format.
        found: u32,
        /// The newest that this release reads.
        known: u32,
    },
    /// The bytes are not those that Stasis wrote with this site's key.
    #[error("{0} is not what was written: it was edited, damaged, or made with another site's key")]
    Edited(String),
    /// Bytes are missing at the end of a file.
    #[error("{file} is truncated: {found} of {expected} bytes")]
    Truncated {
        /// The file of the image.
        file: String,
        /// Bytes that are there.
        found: u64,
        /// Bytes that were written.
        expected: u64,
    },
    /// A file has become longer.
    #[error("{file} was extended: {found} bytes instead of {expected}")]
    Extended {
        /// The file of the image.
        file: String,
        /// Bytes that are there.
        found: u64,
        /// Bytes that were written.
        expected: u64,
    },
    /// A file is gone, or was never in the image.
    #[error("its file {0} is missing")]
    Missing(String),
    /// Another user's session.
    #[error("it is a session of uid {found}, not of uid {expected}")]
    ForeignUser {
        /// Whose it is.
        found: u32,
        /// Who asks.
        expected: u32,
    },
    /// A session under another primary group.
    #[error("it is a session of gid {found}, not of gid {expected}")]
    ForeignGroup {
        /// Whose it is.
        found: u32,
        /// Who asks.
        expected: u32,
    },
    /// Another job's session.
    #[error("it is a session of job {found}, not of job {expected}")]
    ForeignJob {
        /// Whose it is.
        found: u32,
        /// Who asks.
        expected: u32,
    },
    /// A session of another cluster.
    #[error("it is a session of cluster `{found}`, not of cluster `{expected}`")]
    ForeignCluster {
        /// Where it was made.
        found: String,
        /// Where it would be restored.
        expected: String,
    },
    /// Copied or renamed within its job.
    #[error("it is image {found} of the job under the name of image {expected}: it was copied or renamed")]
    ForeignNumber {
        /// What it is.
        found: u32,
        /// What its folder is called.
        expected: u32,
    },
    /// Made by this run of the job or a later one, so not what this run begins with.
    #[error(
        "it was made in run {found} of the job, and this is run {run}: only an earlier run's is restored"
    )]
    NotEarlier {
        /// How often the job had been requeued when the image was made.
        found: u32,
        /// How often it has been by now.
        run: u32,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
