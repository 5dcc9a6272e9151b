//! The command `stasis`: what a user, or an administrator as root, types to look at sessions and their
//! checkpoints, to ask for one, to remove some, and to find out what a node or a site still lacks.
//!
//! There is no daemon behind it. It reads the store with the caller's own rights, asks slurmctld what it knows of
//! a job, and sends a job's shepherd a signal through Slurm. It must never change a session in any other way.
//!
//! Each verb gathers facts, then decides and renders in functions without I/O, which is where the tests are. What
//! comes from the store, from slurmctld or from a user's name is hostile text: it passes [`text::clean`] before it
//! may reach a terminal.

pub mod args;
pub mod checkpoint;
pub mod doctor;
pub mod error;
pub mod find;
pub mod follow;
pub mod keygen;
pub mod list;
pub mod output;
pub mod remove;
pub mod show;
pub mod site;
pub mod slurm;
pub mod text;
pub mod timeline;

#[cfg(test)]
mod fixture;
