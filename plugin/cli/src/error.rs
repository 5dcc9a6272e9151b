//! What can go wrong, said so that a person knows which thing it is about and what to do.

use slurm_sys::SlurmError;
use stasis_image::{KeyError, StoreError};
use std::path::PathBuf;
use thiserror::Error;

/// Why the command could not do what was asked.
#[derive(Debug, Error)]
pub enum CliError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// slurmctld refused, or does not answer.
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    /// The key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The site's configuration cannot be used.
    #[error("{place}: {reason}; ask your site to correct it, or name another file with --config")]
    Config {
        /// File, or file and line.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// This machine has no Slurm.
    #[error("{0}; run this where squeue works, or set SLURM_CONF")]
    NoSlurm(String),
    /// Not written as a job is.
    #[error("`{0}` is not a job id such as 4711, or 4711_3 for a task of an array")]
    JobId(String),
    /// There is no such user.
    #[error("there is no user `{0}` on this machine")]
    NoUser(String),
    /// Other people's sessions.
    #[error("only root can look at other users' sessions: run this as root, or leave out {0}")]
    RootOnly(&'static str),
    /// There is nothing of this job in the store.
    #[error("the store {store} holds nothing of job {job}{hint}; `stasis list` shows what it holds")]
    NoSession {
        /// What was asked for.
        job: String,
        /// The store.
        store: PathBuf,
        /// What may explain it.
        hint: String,
    },
    /// The same number on several clusters, or of several users.
    #[error("the store holds several jobs {job}: {choices}; choose one with {option}")]
    Ambiguous {
        /// What was asked for.
        job: u32,
        /// The choices, with commas between them.
        choices: String,
        /// The option that chooses.
        option: &'static str,
    },
    /// A task of an array that slurmctld has forgotten.
    #[error(
        "slurmctld knows no task {task} of array {array} any more; give its own job id, see `stasis list`"
    )]
    NoTask {
        /// The array's id.
        array: u32,
        /// The task's number.
        task: u32,
    },
    /// The job cannot be checkpointed now.
    #[error("job {job} {reason}")]
    NotNow {
        /// The job.
        job: u32,
        /// Why not.
        reason: String,
    },
    /// There is no such image.
    #[error("job {job} has no image {image}; `stasis show {job}` lists those that it has")]
    NoImage {
        /// The job.
        job: u32,
        /// The image that was asked for.
        image: u32,
    },
    /// Deleting without being asked about it, and without --yes.
    #[error("nothing was removed: there is no terminal to ask at; add --yes if you are sure")]
    Unconfirmed,
    /// An option's value.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// The system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, CliError>;
