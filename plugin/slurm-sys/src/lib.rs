//! libslurm from Rust: the raw bindings in [`ffi`], made from the installed slurm.h, and around them the few
//! calls that Stasis makes, in safe types that own nothing of Slurm's.
//!
//! Every call is a request to slurmctld under the identity of the calling process, and may take as long as
//! slurmctld takes to answer (MessageTimeout, 10 s by default).

mod calls;

/// The raw bindings.
#[allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals, unused_qualifications)]
#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]
pub mod ffi {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use calls::{Job, JobState, Partition, PreemptMode, Site, Slurm, SlurmError, Step};
