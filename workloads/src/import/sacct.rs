//! Slurm's accounting, as `sacct --parsable2` prints it: a header names the columns, `|` is between them.
//! A good export is
//!
//! ```text
//! sacct --allusers --allocations --parsable2 --starttime 2024-01-01 \
//!     --format JobIDRaw,User,Partition,Submit,Start,Elapsed,Timelimit,AllocCPUS,ReqCPUS,NNodes,ReqMem,State
//! ```
//!
//! Needed are a job id (`JobIDRaw` or `JobID`), `Submit`, `Elapsed` (or `ElapsedRaw`, seconds) and `State`;
//! the rest is used where it is there, and any other column is passed over. Rows of job steps are too.

use crate::error::TraceError;
use crate::format::calendar::stamp_ns;
use crate::format::decimal::{scaled, seconds, whole, whole_u32};
use crate::format::lines::{Lines, quoted};
use crate::format::names::Names;
use crate::format::open;
use crate::format::sort::{Sorted, by_submission};
use crate::format::table::{Column, Table};
use crate::format::until_error::until_error;
use crate::job::{Job, JobStatus};
use crate::session::NS_PER_S;
use std::io::BufRead;
use std::path::Path;

/// What stands for `UNLIMITED`: a year of 365 days, in nanoseconds.
pub const UNLIMITED_NS: u64 = 365 * 86_400 * NS_PER_S;

/// The jobs of an export in order of submission; time 0 is the first submission. The file is read twice:
/// `sacct` sorts by job id, so the first row need not be the first submission.
///
/// # Errors
/// The file cannot be read, or a row is wrong.
pub fn jobs(path: &Path) -> Result<Sorted<Job>, TraceError> {
    let mut origin_ns = u64::MAX;
    for job in SacctReader::new(path, open(path)?, 0)? {
        origin_ns = origin_ns.min(job?.submit_ns);
    }
    by_submission(path, SacctReader::new(path, open(path)?, origin_ns)?)
}

/// Reads an export one job at a time, in its own order. After an error it is at its end.
pub struct SacctReader<R> {
    table: Table<R>,
    columns: Columns,
    users: Names,
    partitions: Names,
    origin_ns: u64,
    done: bool,
}

struct Columns {
    id: Column,
    submit: Column,
    elapsed: Column,
    elapsed_is_raw: bool,
    state: Column,
    user: Option<Column>,
    partition: Option<Column>,
    start: Option<Column>,
    limit: Option<Column>,
    limit_is_raw: bool,
    cpus: Vec<Column>,
    nodes: Option<Column>,
    memory: Option<Column>,
}

impl<R: BufRead> SacctReader<R> {
    /// Reads the header. Times count from `origin_ns`, nanoseconds since 1970 on the cluster's clock.
    ///
    /// # Errors
    /// The header lacks a column that is needed.
    pub fn new(file: &Path, input: R, origin_ns: u64) -> Result<Self, TraceError> {
        let table = Table::new(Lines::new(file, input), b'|')?;
        let columns = Columns {
            id: table.find("JobIDRaw").map_or_else(|| table.need("JobID"), Ok)?,
            submit: table.need("Submit")?,
            elapsed: table.find("ElapsedRaw").map_or_else(|| table.need("Elapsed"), Ok)?,
            elapsed_is_raw: table.find("ElapsedRaw").is_some(),
            state: table.need("State")?,
            user: table.find("User").or_else(|| table.find("UID")),
            partition: table.find("Partition"),
            start: table.find("Start"),
            limit: table.find("TimelimitRaw").or_else(|| table.find("Timelimit")),
            limit_is_raw: table.find("TimelimitRaw").is_some(),
            cpus: ["AllocCPUS", "NCPUS", "ReqCPUS"].into_iter().filter_map(|name| table.find(name)).collect(),
            nodes: table.find("NNodes").or_else(|| table.find("AllocNodes")),
            memory: table.find("ReqMem"),
        };
        let (users, partitions) = (Names::default(), Names::default());
        Ok(Self { table, columns, users, partitions, origin_ns, done: false })
    }

    fn read(&mut self) -> Result<Option<Job>, TraceError> {
        while self.table.advance()? {
            let is_step = self.table.field(self.columns.id).contains(&b'.');
            if !is_step {
                return self.job().map(Some);
            }
        }
        Ok(None)
    }

    fn job(&mut self) -> Result<Job, TraceError> {
        let (table, columns) = (&self.table, &self.columns);
        let stamp = table.parse(columns.submit, submit)?;
        let before = || table.bad("Submit", "before the start of the trace");
        let submit_ns = stamp.checked_sub(self.origin_ns).ok_or_else(before)?;
        let elapsed = if columns.elapsed_is_raw { seconds } else { duration };
        let run_ns = table.parse(columns.elapsed, elapsed)?;
        let limit = if columns.limit_is_raw { raw_limit } else { limit };
        let requested_ns = columns.limit.map_or(Ok(None), |column| table.parse(column, limit))?;
        let started_ns = columns.start.and_then(|column| stamp_ns(table.field(column)));
        let mut processors = 1;
        for &column in columns.cpus.iter().rev() {
            processors = Some(table.parse(column, whole_u32)?).filter(|&n| n > 0).unwrap_or(processors);
        }
        let nodes = columns.nodes.map_or(Ok(1), |column| table.parse(column, whole_u32))?.max(1);
        let memory_of = |field: &[u8]| memory_bytes(field, processors, nodes);
        Ok(Job {
            id: table.parse(columns.id, job_id)?,
            submit_ns,
            run_ns,
            requested_ns: requested_ns.unwrap_or(run_ns),
            wait_ns: started_ns.and_then(|started_ns| started_ns.checked_sub(stamp)),
            processors,
            memory_bytes: columns.memory.map_or(Ok(0), |column| table.parse(column, memory_of))?,
            user: columns.user.map_or(0, |column| self.users.number(table.field(column))),
            partition: columns.partition.map_or(0, |column| self.partitions.number(table.field(column))),
            status: table.parse(columns.state, status)?,
        })
    }
}

impl<R: BufRead> Iterator for SacctReader<R> {
    type Item = Result<Job, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_error(self, |reader| &mut reader.done, Self::read)
    }
}

fn submit(field: &[u8]) -> Result<u64, String> {
    stamp_ns(field).ok_or_else(|| format!("{} is not a time like 2024-01-31T12:00:00", quoted(field)))
}

/// `[days-]hours:minutes:seconds[.microseconds]`, or `minutes:seconds`.
fn duration(field: &[u8]) -> Result<u64, String> {
    let wrong = || format!("{} is not a duration like 1-02:03:04", quoted(field));
    let (days, clock) = match field.iter().position(|&byte| byte == b'-') {
        Some(0) => return Err(format!("{} is negative", quoted(field))),
        Some(dash) => (whole(&field[..dash]).map_err(|_| wrong())?, &field[dash + 1..]),
        None => (0, field),
    };
    let parts: Vec<&[u8]> = clock.split(|&byte| byte == b':').collect();
    let (hours, minutes, last) = match parts[..] {
        [hours, minutes, last] => (hours, minutes, last),
        [minutes, last] if days == 0 => (&b"0"[..], minutes, last),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = (whole(hours).map_err(|_| wrong())?, whole(minutes).map_err(|_| wrong())?);
    let last_ns = seconds(last).map_err(|_| wrong())?;
    let total = days
        .checked_mul(24)
        .and_then(|h| h.checked_add(hours)?.checked_mul(60)?.checked_add(minutes)?.checked_mul(60 * NS_PER_S))
        .and_then(|ns| ns.checked_add(last_ns));
    total.ok_or_else(|| format!("{} is too large", quoted(field)))
}

/// A time limit; none where the partition's applies.
fn limit(field: &[u8]) -> Result<Option<u64>, String> {
    match field {
        b"UNLIMITED" => Ok(Some(UNLIMITED_NS)),
        b"" | b"Partition_Limit" | b"INVALID" => Ok(None),
        _ => duration(field).map(Some),
    }
}

/// A time limit in minutes; none where the partition's applies.
fn raw_limit(field: &[u8]) -> Result<Option<u64>, String> {
    match field {
        b"UNLIMITED" | b"" | b"Partition_Limit" | b"INVALID" => limit(field),
        _ => scaled(field, 60 * NS_PER_S).map(Some),
    }
}

/// `123`, `123_4` (array) or `123+1` (heterogeneous). The last two get numbers above 2^62, which no plain
/// job has: ids must differ within a trace.
fn job_id(field: &[u8]) -> Result<u64, String> {
    let Some(mark) = field.iter().position(|byte| matches!(byte, b'_' | b'+')) else { return whole(field) };
    let (base, index) = (whole_u32(&field[..mark])?, whole_u32(&field[mark + 1..]));
    // `123_[5-9]` is the part of an array that has not started.
    let index = index.unwrap_or(u32::MAX);
    let kind = if field[mark] == b'_' { 1 << 63 } else { 1 << 62 };
    Ok(kind | (u64::from(base & 0x3fff_ffff) << 32) | u64::from(index))
}

/// `4000M`, `4G`; older versions append `c` (per core) or `n` (per node). Without a unit it is megabytes.
fn memory_bytes(field: &[u8], processors: u32, nodes: u32) -> Result<u64, String> {
    let (amount, times) = match field {
        [] => return Ok(0),
        [amount @ .., b'c'] => (amount, processors),
        [amount @ .., b'n'] => (amount, nodes),
        _ => (field, 1),
    };
    let (digits, shift) = match amount {
        [digits @ .., b'K'] => (digits, 10),
        [digits @ .., b'M'] => (digits, 20),
        [digits @ .., b'G'] => (digits, 30),
        [digits @ .., b'T'] => (digits, 40),
        [digits @ .., b'P'] => (digits, 50),
        _ => (amount, 20),
    };
    // Thousandths are enough: sacct prints two decimals.
    let thousandths =
        scaled(digits, 1000).map_err(|_| format!("{} is not a size like 4000M", quoted(field)))?;
    let bytes = u128::from(thousandths) * u128::from(times) * (1_u128 << shift) / 1000;
    u64::try_from(bytes).map_err(|_| format!("{} is too large", quoted(field)))
}

fn status(field: &[u8]) -> Result<JobStatus, String> {
    let state = field.split(|&byte| byte == b' ').next().unwrap_or(field);
    match state {
        b"COMPLETED" => Ok(JobStatus::Completed),
        b"FAILED" | b"NODE_FAIL" | b"OUT_OF_MEMORY" | b"BOOT_FAIL" | b"LAUNCH_FAILED" => {
            Ok(JobStatus::Failed)
        }
        b"CANCELLED" | b"CANCELLED+" | b"REVOKED" => Ok(JobStatus::Cancelled),
        b"TIMEOUT" | b"DEADLINE" => Ok(JobStatus::TimedOut),
        b"PREEMPTED" => Ok(JobStatus::Preempted),
        b"RUNNING" | b"PENDING" | b"REQUEUED" | b"RESIZING" | b"SUSPENDED" | b"COMPLETING"
        | b"CONFIGURING" | b"STOPPED" | b"SIGNALING" | b"STAGE_OUT" | b"REQUEUE_HOLD" | b"SPECIAL_EXIT" => {
            Ok(JobStatus::Unknown)
        }
        _ => Err(format!("{} is not a state that Slurm has", quoted(field))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_sacct_prints_them() {
        assert_eq!(duration(b"1-02:03:04"), Ok(93_784 * NS_PER_S));
        assert_eq!(duration(b"00:03:04"), Ok(184 * NS_PER_S));
        assert_eq!(duration(b"03:04.250"), Ok(184_250_000_000));
        assert!(duration(b"-00:01:00").unwrap_err().contains("negative"));
        for wrong in ["", "1-", "1-02:03", "5", "a:b:c", "99999999999999999999-00:00:00"] {
            assert!(duration(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_as_sacct_prints_them() {
        assert_eq!(memory_bytes(b"4000M", 8, 2), Ok(4000 << 20));
        assert_eq!(memory_bytes(b"2Gc", 8, 2), Ok(16 << 30));
        assert_eq!(memory_bytes(b"2.5Gn", 8, 2), Ok(5 << 30));
        assert_eq!(memory_bytes(b"0n", 8, 2), Ok(0));
        assert!(memory_bytes(b"lots", 8, 2).is_err());
    }

    #[test]
    fn array_tasks_get_their_own_ids() {
        assert_eq!(job_id(b"123"), Ok(123));
        assert_ne!(job_id(b"123_4"), job_id(b"123_5"));
        assert_ne!(job_id(b"123_4"), job_id(b"123+4"));
        assert!(job_id(b"12x").is_err());
    }
}
