//! What several suites share: the sample traces, the parsers as one table, arbitrary sessions, and where
//! the public traces are, if they are.
#![allow(dead_code, reason = "each suite uses some of it")]

use proptest::prelude::*;
use stasis_workloads::format::session_csv::SessionReader;
use stasis_workloads::generate::GeneratorSpec;
use stasis_workloads::import::jupyterhub::HubReader;
use stasis_workloads::import::lifetimes::LifetimeReader;
use stasis_workloads::import::notebookos::NotebookosReader;
use stasis_workloads::import::sacct::SacctReader;
use stasis_workloads::import::swf::SwfReader;
use stasis_workloads::import::{jupyterhub, notebookos, spot_json};
use stasis_workloads::{Interval, MemoryStep, Request, Session, TraceError};
use std::path::{Path, PathBuf};

/// A trace of `workloads/traces/`.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(name)
}

/// A public trace, from `STASIS_TRACES` or beside the workspace; if it is absent this says what is left out.
pub fn public(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces");
    let folder = std::env::var_os("STASIS_TRACES").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is missing (set STASIS_TRACES to the folder of public traces)", path.display());
    None
}

/// A parser: its name, a valid file, and how to read one, giving the number of records.
pub struct Parser {
    pub name: &'static str,
    pub valid: &'static [u8],
    pub read: fn(&[u8]) -> Result<usize, TraceError>,
}

/// Notebook events in the shape of the public file; the numbers are made up.
pub const NOTEBOOKOS: &str = "job_id,num_gpu,submit_time,iterations,model_name,duration,interval
0,1,100,0,resnet101,5,0
1,1,103,0,resnet101,4,0
2,1,160,0,resnet101,1,0
3,4,40,0,vgg11,2,0
";

fn count<T>(records: impl Iterator<Item = Result<T, TraceError>>) -> Result<usize, TraceError> {
    records.into_iter().try_fold(0, |count, record| record.map(|_| count + 1))
}

fn name() -> &'static Path {
    Path::new("in.put")
}

/// Every parser of text there is.
pub const PARSERS: &[Parser] = &[
    Parser {
        name: "sessions",
        valid: include_bytes!("../../traces/sessions.csv"),
        read: |bytes| count(SessionReader::new(name(), bytes)?),
    },
    Parser {
        name: "swf",
        valid: include_bytes!("../../traces/jobs.swf"),
        read: |bytes| count(SwfReader::new(name(), bytes)),
    },
    Parser {
        name: "sacct",
        valid: include_bytes!("../../traces/sacct.txt"),
        read: |bytes| count(SacctReader::new(name(), bytes, 0)?),
    },
    Parser {
        name: "jupyterhub",
        valid: include_bytes!("../../traces/jupyterhub.log"),
        read: |bytes| count(HubReader::new(name(), bytes, jupyterhub::Options::default())),
    },
    Parser {
        name: "notebookos",
        valid: NOTEBOOKOS.as_bytes(),
        read: |bytes| count(NotebookosReader::new(name(), bytes, notebookos::Options::default())?),
    },
    Parser {
        name: "lifetimes",
        valid: include_bytes!("../../traces/lifetimes.csv"),
        read: |bytes| count(LifetimeReader::new(name(), bytes)?),
    },
    Parser {
        name: "spot",
        valid: include_bytes!("../../traces/spot.json"),
        read: |bytes| spot_json::parse(name(), bytes).map(|trace| trace.steps().len()),
    },
    Parser {
        name: "generator",
        valid: include_bytes!("../../traces/generator.toml"),
        read: |bytes| GeneratorSpec::parse(name(), &String::from_utf8_lossy(bytes)).map(|_| 1),
    },
];

/// Rising times from gaps, in nanoseconds; none when they pass `u64`.
fn running_sum(from: u64, gaps: &[u64]) -> Option<Vec<u64>> {
    let mut now = from;
    gaps.iter()
        .map(|gap| {
            now = now.checked_add(*gap)?;
            Some(now)
        })
        .collect()
}

/// Any valid session, odd nanoseconds and large numbers included.
pub fn any_session() -> impl Strategy<Value = Session> {
    let gap = prop_oneof![1..10_u64, 1..10_000_000_000_000_u64, Just(1_000_000_000)];
    let gaps = |most: usize| prop::collection::vec(gap.clone(), 0..most);
    let request = (1..=u32::MAX, any::<u32>(), any::<u64>());
    let parts = (
        any::<u64>(),
        any::<u32>(),
        0..u64::MAX / 2,
        request,
        gaps(40),
        gaps(20),
        gaps(20),
        1..1_000_000_u64,
    );
    parts.prop_map(
        |(id, user, submit_ns, (cores_milli, gpus, memory_bytes), busy, memory, connected, tail)| {
            let intervals = |gaps: &[u64]| -> Box<[Interval]> {
                let times = running_sum(submit_ns, gaps).unwrap_or_default();
                times.chunks_exact(2).map(|pair| Interval { start_ns: pair[0], end_ns: pair[1] }).collect()
            };
            let steps = running_sum(submit_ns, &memory).unwrap_or_default();
            let memory: Box<[MemoryStep]> =
                steps.iter().map(|&at_ns| MemoryStep { at_ns, bytes: at_ns.rotate_left(17) }).collect();
            let (busy, connected) = (intervals(&busy), intervals(&connected));
            let last =
                |intervals: &[Interval]| intervals.last().map_or(submit_ns, |interval| interval.end_ns);
            let end_ns =
                last(&busy).max(last(&connected)).max(steps.last().copied().unwrap_or(0)).max(submit_ns)
                    + tail;
            let request = Request { cores_milli, gpus, memory_bytes };
            Session { id, user, submit_ns, end_ns, request, busy, memory, connected }
        },
    )
}

/// A few valid sessions in order of submission.
pub fn any_trace() -> impl Strategy<Value = Vec<Session>> {
    prop::collection::vec(any_session(), 0..12).prop_map(|mut sessions| {
        sessions.sort_by_key(|session| session.submit_ns);
        sessions
    })
}
