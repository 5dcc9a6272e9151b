//! What the suites share: everything here runs the real plugin under a real Slurm, with a real CRIU.
//!
//! A suite is a program with one cluster. [`Suite`] boots it for the first test and takes it down after the last;
//! each test gets a [`Pair`] of nodes that no other test uses meanwhile, so that a session can be preempted on
//! one and come back on the other while other tests do the same beside it. [`jupyter`] speaks with a session as
//! a browser would.
//!
//! Tests wait for conditions, with a bound, and never for a time; none asserts how long anything takes.

pub mod jupyter;
mod pair;
pub mod scripts;
mod suite;

pub use pair::{Pair, STORE_OF_ALICE};
pub use suite::Suite;

use std::time::Duration;

/// How long anything may take on a cluster that has nothing else to do.
pub const SOON: Duration = Duration::from_secs(60);
/// How long a session may take from its preemption until it runs on the other node.
pub const MOVE: Duration = Duration::from_secs(150);
