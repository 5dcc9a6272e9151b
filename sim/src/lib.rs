//! A discrete-event simulator that tells which checkpoint policies pay: it replays session traces on a
//! modelled cloud or cluster, with the policy code that the shepherd runs.
//!
//! - [`engine`]: event queue, histograms, a shared store; knows no sessions.
//! - [`model`]: sessions, machines, costs; [`model::world::run`] is one run.

pub mod engine;
pub mod model;
pub mod scenario;
