//! The Standard Workload Format of the Parallel Workloads Archive (Chapin et al. 1999; Feitelson, Tsafrir,
//! Krakov 2014): 18 numbers per job, -1 for unknown, `;` before comments. Read and written, because it is
//! the format of job traces here too. The reader is the front of every queueing benchmark, so it allocates
//! nothing per job.

use crate::error::{Invalid, TraceError};
use crate::format::atomic::AtomicFile;
use crate::format::decimal::{scaled, whole, whole_u32, write_seconds};
use crate::format::lines::{Lines, quoted};
use crate::format::until_error::until_error;
use crate::format::{in_order, open};
use crate::job::{Job, JobStatus};
use crate::session::NS_PER_S;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// The names of the 18 fields, in order, as error messages give them.
pub const FIELDS: [&str; 18] = [
    "job number",
    "submit time (s)",
    "wait time (s)",
    "run time (s)",
    "allocated processors",
    "average CPU time (s)",
    "used memory (KB)",
    "requested processors",
    "requested time (s)",
    "requested memory (KB)",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time (s)",
];

/// What the comments ahead of the first job say about the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwfHeader {
    /// Processors of the machine.
    pub max_procs: Option<u32>,
    /// Nodes of the machine.
    pub max_nodes: Option<u32>,
    /// When the log starts, in seconds since 1970.
    pub unix_start_time_s: Option<u64>,
}

/// Reads a log one job at a time. After an error it is at its end.
pub struct SwfReader<R> {
    lines: Lines<R>,
    header: SwfHeader,
    first: Option<Result<Job, TraceError>>,
    last_submit_ns: u64,
    done: bool,
}

impl SwfReader<BufReader<File>> {
    /// Opens a log.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        Ok(Self::new(path, open(path)?))
    }
}

impl<R: BufRead> SwfReader<R> {
    /// Reads a log from `input` up to its first job; `file` is for messages only.
    pub fn new(file: &Path, input: R) -> Self {
        let header = SwfHeader::default();
        let lines = Lines::new(file, input);
        let mut reader = Self { lines, header, first: None, last_submit_ns: 0, done: false };
        reader.first = reader.read().transpose();
        reader
    }

    /// What the comments ahead of the first job say.
    pub fn header(&self) -> SwfHeader {
        self.header
    }

    fn read(&mut self) -> Result<Option<Job>, TraceError> {
        loop {
            let Some(line) = self.lines.next_line()? else { return Ok(None) };
            let (number, text) = (line.number, line.bytes.trim_ascii_start());
            match text.first() {
                None => {}
                Some(b';') => self.header.learn(text),
                Some(_) => {
                    return parse_job(text)
                        .and_then(|job| {
                            in_order(FIELDS[1], &mut self.last_submit_ns, job.submit_ns).map(|()| job)
                        })
                        .map(Some)
                        .map_err(|invalid| invalid.at(self.lines.file(), number));
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for SwfReader<R> {
    type Item = Result<Job, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read =
            |reader: &mut Self| reader.first.take().map_or_else(|| reader.read(), |first| first.map(Some));
        until_error(self, |reader| &mut reader.done, read)
    }
}

impl SwfHeader {
    fn learn(&mut self, comment: &[u8]) {
        let Some(colon) = comment.iter().position(|&byte| byte == b':') else { return };
        let value = comment[colon + 1..].trim_ascii();
        match comment[1..colon].trim_ascii() {
            b"MaxProcs" => self.max_procs = whole_u32(value).ok(),
            b"MaxNodes" => self.max_nodes = whole_u32(value).ok(),
            b"UnixStartTime" => self.unix_start_time_s = whole(value).ok(),
            _ => {}
        }
    }
}

fn parse_job(line: &[u8]) -> Result<Job, Invalid> {
    let mut fields: [&[u8]; FIELDS.len()] = [&[]; FIELDS.len()];
    let mut count = 0;
    for field in line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()) {
        if let Some(slot) = fields.get_mut(count) {
            *slot = field;
        }
        count += 1;
    }
    if count != FIELDS.len() {
        return Err(Invalid::new("", format!("{count} fields where the format has {}", FIELDS.len())));
    }
    let time = |index| read(&fields, index, |field| scaled(field, NS_PER_S));
    let number = |index| read(&fields, index, whole);
    let small = |index| read(&fields, index, whole_u32);
    // Not used, but a line in which they are wrong is not to be trusted.
    for unused in [5, 12, 13, 16, 17] {
        time(unused)?;
    }
    let run_ns = time(3)?.unwrap_or(0);
    let processors = small(4)?.filter(|&n| n > 0).or(small(7)?.filter(|&n| n > 0));
    let processors = match processors {
        Some(processors) => processors,
        None if run_ns == 0 => 1,
        None => return Err(Invalid::new(FIELDS[4], "the job ran, but on how many processors is not said")),
    };
    let kilobytes_each = number(9)?.or(time(6)?.map(|ns| ns / NS_PER_S)).unwrap_or(0);
    Ok(Job {
        id: number(0)?.ok_or_else(|| Invalid::new(FIELDS[0], "is unknown (-1)"))?,
        submit_ns: time(1)?.ok_or_else(|| Invalid::new(FIELDS[1], "is unknown (-1)"))?,
        run_ns,
        requested_ns: time(8)?.unwrap_or(run_ns),
        wait_ns: time(2)?,
        processors,
        memory_bytes: kilobytes_each.saturating_mul(1024).saturating_mul(u64::from(processors)),
        user: small(11)?.unwrap_or(0),
        partition: small(15)?.or(small(14)?).unwrap_or(0),
        status: status(number(10)?)?,
    })
}

/// Field `index`, or none where it says -1.
fn read<T>(
    fields: &[&[u8]; FIELDS.len()],
    index: usize,
    parse: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, Invalid> {
    match fields[index] {
        b"-1" => Ok(None),
        field => parse(field).map(Some).map_err(|reason| Invalid::new(FIELDS[index], reason)),
    }
}

fn status(code: Option<u64>) -> Result<JobStatus, Invalid> {
    match code {
        Some(0 | 4) => Ok(JobStatus::Failed),
        Some(1) => Ok(JobStatus::Completed),
        Some(5) => Ok(JobStatus::Cancelled),
        // 2 and 3 are parts of a job that was checkpointed or swapped out.
        Some(2 | 3) | None => Ok(JobStatus::Unknown),
        Some(other) => Err(Invalid::new(
            FIELDS[10],
            format!("{} is not one of -1 to 5", quoted(other.to_string().as_bytes())),
        )),
    }
}

/// Writes a whole log and returns how many jobs there are. The file appears whole or not at all.
///
/// # Errors
/// An error of `jobs`, a job out of order, or a file that cannot be written; then no file has appeared.
pub fn write_swf(
    path: &Path,
    header: SwfHeader,
    jobs: impl Iterator<Item = Result<Job, TraceError>>,
) -> Result<u64, TraceError> {
    let mut file = AtomicFile::create(path)?;
    let wrote = write_comments(&mut file, header);
    file.wrote(wrote)?;
    let (mut count, mut last_submit_ns) = (0, 0);
    for job in jobs {
        let job = job?;
        count += 1;
        in_order(FIELDS[1], &mut last_submit_ns, job.submit_ns).map_err(|invalid| invalid.at(path, 0))?;
        let wrote = write_job(&mut file, &job);
        file.wrote(wrote)?;
    }
    file.commit().map(|()| count)
}

fn write_comments(out: &mut impl io::Write, header: SwfHeader) -> io::Result<()> {
    writeln!(out, "; Version: 2.2")?;
    let lines = [
        ("UnixStartTime", header.unix_start_time_s),
        ("MaxNodes", header.max_nodes.map(u64::from)),
        ("MaxProcs", header.max_procs.map(u64::from)),
    ];
    lines
        .iter()
        .filter_map(|(key, value)| Some((key, (*value)?)))
        .try_for_each(|(key, value)| writeln!(out, "; {key}: {value}"))
}

fn write_job(out: &mut impl io::Write, job: &Job) -> io::Result<()> {
    write!(out, "{} ", job.id)?;
    write_seconds(out, job.submit_ns)?;
    out.write_all(b" ")?;
    match job.wait_ns {
        Some(wait_ns) => write_seconds(out, wait_ns)?,
        None => out.write_all(b"-1")?,
    }
    out.write_all(b" ")?;
    write_seconds(out, job.run_ns)?;
    write!(out, " {0} -1 -1 {0} ", job.processors)?;
    write_seconds(out, job.requested_ns)?;
    let memory_kb = match job.memory_bytes / 1024 / u64::from(job.processors.max(1)) {
        0 => "-1".to_string(),
        kilobytes => kilobytes.to_string(),
    };
    let status = match job.status {
        JobStatus::Completed => "1",
        JobStatus::Failed | JobStatus::TimedOut => "0",
        JobStatus::Cancelled => "5",
        JobStatus::Preempted | JobStatus::Unknown => "-1",
    };
    writeln!(out, " {memory_kb} {status} {} -1 -1 -1 {} -1 -1", job.user, job.partition)
}
