//! Importers of other people's traces, one file per format. Each reads line by line and yields the models of
//! this crate; a format that is not in order of submission is sorted on the way ([`crate::format::sort`]).

pub mod jupyterhub;
pub mod lifetimes;
pub mod notebookos;
pub mod sacct;
pub mod spot_json;
pub mod swf;

use crate::error::TraceError;
use crate::job::Job;
use crate::session::{Request, Session};
use std::path::Path;

/// What a session is assumed to have asked for, where a log does not say: 2 cores, 8 GiB, no GPU.
pub const USUAL_REQUEST: Request = Request { cores_milli: 2000, gpus: 0, memory_bytes: 8 << 30 };

/// Jobs as sessions (see [`Job::to_session`]); jobs that never ran are left out. `file` is for messages only.
pub fn jobs_as_sessions(
    file: &Path,
    jobs: impl Iterator<Item = Result<Job, TraceError>>,
) -> impl Iterator<Item = Result<Session, TraceError>> {
    jobs.filter(|job| !matches!(job, Ok(Job { run_ns: 0, .. })))
        .map(|job| job?.to_session().map_err(|invalid| invalid.at(file, 0)))
}
