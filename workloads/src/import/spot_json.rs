//! Spot availability as the traces of Can't Be Late (Wu et al., NSDI 2024) give it:
//! `{"metadata": {"gap_seconds": 600}, "data": [1, 0, ...]}`, `data[i]` instances at tick i. The ticks are
//! folded into steps while they are read, so a trace costs what it changes, not what it lasts.

use crate::error::TraceError;
use crate::format::atomic::AtomicFile;
use crate::law::seconds_to_ns;
use crate::session::NS_PER_S;
use crate::spot::SpotTrace;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::io::{Read, Write as _};
use std::path::Path;

/// Reads a trace from a file.
///
/// # Errors
/// It cannot be read or is no such trace.
pub fn read(path: &Path) -> Result<SpotTrace, TraceError> {
    parse(path, crate::format::open(path)?)
}

/// Reads a trace; `file` is for messages only.
///
/// # Errors
/// The JSON is malformed, a key is unknown or missing, the gap is not positive, or a count is no count.
pub fn parse(file: &Path, input: impl Read) -> Result<SpotTrace, TraceError> {
    let document: Document = serde_json::from_reader(input).map_err(|error| place(file, &error))?;
    let gap_ns = seconds_to_ns(document.metadata.gap_seconds);
    let ticks = document.data;
    let build = || {
        let mut trace = SpotTrace::new(gap_ns)?;
        for (instances, count) in ticks.0 {
            trace.push_many(instances, count)?;
        }
        Ok(trace)
    };
    build().map_err(|invalid: crate::error::Invalid| invalid.at(file, 0))
}

/// Writes a trace. The file appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, trace: &SpotTrace) -> Result<(), TraceError> {
    let mut file = AtomicFile::create(path)?;
    let wrote = (|| {
        let gap_seconds = trace.gap_ns() as f64 / NS_PER_S as f64;
        write!(file, "{{\"metadata\": {{\"gap_seconds\": {gap_seconds}}}, \"data\": [")?;
        for (index, instances) in trace.iter_ticks().enumerate() {
            write!(file, "{}{instances}", if index == 0 { "" } else { ", " })?;
        }
        writeln!(file, "]}}")
    })();
    file.wrote(wrote)?;
    file.commit()
}

#[derive(serde::Deserialize)]
struct Document {
    metadata: Metadata,
    data: Ticks,
}

/// Other keys (zone, instance type) are allowed: they differ between data sets.
#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(deserialize_with = "crate::checked::positive")]
    gap_seconds: f64,
}

/// Runs of equal ticks: instances, and how many ticks in a row.
struct Ticks(Vec<(u32, u64)>);

impl<'de> Deserialize<'de> for Ticks {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(TicksVisitor)
    }
}

struct TicksVisitor;

impl<'de> Visitor<'de> for TicksVisitor {
    type Value = Ticks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of instance counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ticks: A) -> Result<Ticks, A::Error> {
        let mut runs: Vec<(u32, u64)> = Vec::new();
        let mut index = 0_u64;
        loop {
            let tick = ticks.next_element::<u32>().map_err(|error| {
                de::Error::custom(format!("data[{index}] is not a count of instances: {error}"))
            })?;
            let Some(instances) = tick else { return Ok(Ticks(runs)) };
            index += 1;
            match runs.last_mut() {
                Some((last, count)) if *last == instances => *count += 1,
                _ => runs.push((instances, 1)),
            }
        }
    }
}

/// JSON's errors know their line; the key is what the message quotes, if it quotes one.
fn place(file: &Path, error: &serde_json::Error) -> TraceError {
    let message = error.to_string();
    let key = if message.contains("gap_seconds") || message.contains("above 0") {
        "metadata.gap_seconds"
    } else if message.contains("metadata") {
        "metadata"
    } else if message.contains("data") || message.contains("instance counts") {
        "data"
    } else {
        ""
    };
    TraceError::bad(file, error.line() as u64, key, message)
}
