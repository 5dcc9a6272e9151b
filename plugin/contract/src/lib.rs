//! The types that cross a process or a file between the parts of Stasis.
//!
//! Everything here is plain data and pure parsing: no I/O, no clock, no randomness. That is what lets
//! the shepherd, the command line and the simulator speak of the same job, image, event and cost.

mod config;
mod cost;
mod event;
mod manifest;
mod options;
mod units;

pub use config::{ConfigError, SiteConfig};
pub use cost::CostModel;
pub use event::{Event, Step, Trigger};
pub use manifest::{Compression, FORMAT_VERSION, FileEntry, Manifest, Origin, PrivateTree, SessionState};
pub use options::{JobSpec, OptionError, UserOptions};
pub use units::{UnitError, format_bytes, format_seconds, parse_bytes, parse_duration_s};
