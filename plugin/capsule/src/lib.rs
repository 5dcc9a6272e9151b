//! The mechanism of checkpoint and restore: a capsule is a set of namespaces with a session in it.
//!
//! A capsule has its own pid, mount and network namespace, its own /proc, /dev/pts and private folders, and a
//! constant address inside, so that a session finds on any node what it left on another. CRIU runs inside, and
//! to it these namespaces are its own: none is dumped, and every pid is free on the next node.
//!
//! Nothing here knows Slurm or decides anything: the shepherd does both.
//!
//! Several steps need a fresh, single-threaded process (entering a pid namespace takes a fork): the program
//! `stasis-capsule`, which is nothing but [`entry::dispatch`].

pub mod action;
pub mod cpu;
pub mod criu;
mod enter;
pub mod entry;
mod hush;
mod init;
mod namespaces;
pub mod network;
pub mod open_files;
pub mod processes;
mod resolver;
mod sock_diag;
mod spawn;
pub mod stream;
pub mod trees;

pub use enter::Identity;
pub use init::{PrivateCopy, TreeSpec};
pub use namespaces::{Capsule, CapsuleError, CapsuleEvent, CapsuleSpec, Namespaces};

/// Where the capsule keeps what travels with a session but is not the user's: the reaper's program.
pub const CAPSULE_DIR: &str = "/run/stasis-capsule";
/// The reaper inside [`CAPSULE_DIR`].
pub const REAPER: &str = "reaper";
