//! The model: sessions, the machines they run on, the store their images go to, and what it all costs.

pub mod batch;
mod bound;
pub mod cluster;
mod explain;
mod life;
mod live;
pub mod metrics;
pub mod occupancy;
mod place;
pub mod spec;
mod spot;
pub mod world;
