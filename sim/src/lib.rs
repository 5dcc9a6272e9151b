//! A discrete-event simulator that tells which checkpoint policies pay: it replays session traces on a
//! modelled cloud or cluster, with the policy code that the shepherd runs.
//!
//! From the ground up:
//!
//! - [`engine`]: event queue, histograms, a shared store; knows no sessions.
//! - [`model`]: sessions, machines, costs; [`model::world::run`] is one run.
//! - [`scenario`], [`sweep`]: what to run, from TOML files.
//! - [`replicate`], [`statistics`], [`attribution`]: many runs, and what may be concluded from them.
//! - [`result`], [`report`], [`output`]: what is left behind for people and programs.
//! - [`validate`], [`deadline`], [`calibrate`]: is it true, and for which costs.
//!
//! ```
//! use stasis_sim::{model::world, scenario::Scenario};
//! use std::path::Path;
//!
//! let text = std::fs::read_to_string("scenarios/small.toml").unwrap();
//! let prepared = Scenario::parse(Path::new("small.toml"), &text).unwrap().prepare(Path::new(".")).unwrap();
//! let outcome = world::run(
//!     &prepared.setup(0),
//!     &mut prepared.sessions(0).unwrap(),
//!     &mut prepared.jobs(0).unwrap(),
//! ).unwrap();
//! assert!(outcome.metrics.total_money() >= outcome.metrics.bound_money);
//! ```

pub mod attribution;
pub mod calibrate;
pub mod deadline;
pub mod engine;
pub mod model;
pub mod output;
pub mod prefetch;
pub mod replicate;
pub mod report;
pub mod result;
pub mod scenario;
pub mod statistics;
pub mod sweep;
pub mod validate;
