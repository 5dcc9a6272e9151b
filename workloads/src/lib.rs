//! Session, job and spot traces: the models, their formats, importers, seeded generators and fits.
//!
//! Everything that yields a trace is an iterator over `Result<_, TraceError>` in order of submission
//! and holds one record at a time. Times are integer nanoseconds since the start of the trace; durations
//! drawn from laws are `f64` seconds until they become times. Keys and fields carry their units.

mod bathtub;
mod checked;
mod error;
pub mod fit;
pub mod format;
pub mod generate;
pub mod import;
mod job;
mod law;
mod session;
mod spot;
pub mod streams;

pub use bathtub::{Bathtub, Parameters as BathtubParameters};
pub use error::{Invalid, TraceError};
pub use format::{Sessions, open_sessions, write_sessions};
pub use job::{Job, JobStatus};
pub use law::{Law, seconds_to_ns};
pub use session::{Interval, MemoryStep, NS_PER_S, Request, Session};
pub use spot::{SpotStep, SpotTrace};
