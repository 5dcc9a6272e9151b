//! The session trace as CSV: one line per session, in order of submission, readable and diffable.
//! FORMAT.md beside this package defines it. The reader is strict and holds one line at a time.

use super::atomic::AtomicFile;
use super::decimal::{seconds, whole, whole_u32, write_seconds};
use super::lines::{Lines, quoted};
use super::until_error::until_error;
use super::{in_order, open};
use crate::error::{Invalid, TraceError};
use crate::session::{Interval, MemoryStep, Request, Session};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

/// The first line of every session trace. A later version has a higher number.
pub const FIRST_LINE: &str = "# stasis-sessions 1";

/// The columns, in the order in which they are written; they may be read in any order.
pub const COLUMNS: [&str; 10] = [
    "id",
    "user",
    "submit_s",
    "end_s",
    "cores_milli",
    "gpus",
    "memory_bytes",
    "busy_s",
    "memory_used_s_bytes",
    "connected_s",
];

/// Reads a session trace, one session at a time. After an error it is at its end.
pub struct SessionReader<R> {
    lines: Lines<R>,
    /// For each field of a line, which of [`COLUMNS`] it is.
    order: [usize; COLUMNS.len()],
    last_submit_ns: u64,
    done: bool,
}

impl SessionReader<BufReader<File>> {
    /// Opens a trace and reads its header.
    ///
    /// # Errors
    /// It cannot be opened, or its header is wrong.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        Self::new(path, open(path)?)
    }
}

impl<R: BufRead> SessionReader<R> {
    /// Reads the header of a trace from `input`; `file` is for messages only.
    ///
    /// # Errors
    /// The version is unknown, or a column is unknown, missing, there twice or without its unit.
    pub fn new(file: &Path, input: R) -> Result<Self, TraceError> {
        let mut lines = Lines::new(file, input);
        let first = lines.next_line()?.map(|line| line.bytes.to_vec()).unwrap_or_default();
        if first != FIRST_LINE.as_bytes() {
            return Err(lines.bad("", format!("the first line must be `{FIRST_LINE}`")));
        }
        let header = lines.next_line()?.map(|line| line.bytes.to_vec()).unwrap_or_default();
        let order = column_order(&header).map_err(|invalid| invalid.at(file, 2))?;
        Ok(Self { lines, order, last_submit_ns: 0, done: false })
    }

    fn read(&mut self) -> Result<Option<Session>, TraceError> {
        let Some(line) = self.lines.next_line()? else { return Ok(None) };
        let number = line.number;
        let parsed = if line.ended {
            parse_line(line.bytes, &self.order)
        } else {
            Err(Invalid::new("", "the line is cut off: it has no end"))
        };
        let session = parsed
            .and_then(|session| {
                in_order("submit_s", &mut self.last_submit_ns, session.submit_ns).map(|()| session)
            })
            .map_err(|invalid| invalid.at(self.lines.file(), number))?;
        Ok(Some(session))
    }
}

impl<R: BufRead> Iterator for SessionReader<R> {
    type Item = Result<Session, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_error(self, |reader| &mut reader.done, Self::read)
    }
}

fn column_order(header: &[u8]) -> Result<[usize; COLUMNS.len()], Invalid> {
    let mut order = [0; COLUMNS.len()];
    let mut seen = [false; COLUMNS.len()];
    for (field, name) in header.split(|&byte| byte == b',').enumerate() {
        let Some(column) = COLUMNS.iter().position(|column| column.as_bytes() == name) else {
            return Err(unknown_column(name));
        };
        if seen[column] {
            return Err(Invalid::new(COLUMNS[column], "the column is there twice"));
        }
        seen[column] = true;
        order[field] = column;
    }
    match seen.iter().position(|&seen| !seen) {
        Some(missing) => Err(Invalid::new(COLUMNS[missing], "the header lacks this column")),
        None => Ok(order),
    }
}

fn unknown_column(name: &[u8]) -> Invalid {
    let with_unit = COLUMNS.iter().find(|column| {
        let rest = column.as_bytes().strip_prefix(name);
        !name.is_empty() && rest.is_some_and(|rest| rest.starts_with(b"_"))
    });
    let key = String::from_utf8_lossy(name).into_owned();
    match with_unit {
        Some(column) => Invalid::new(key, format!("the unit is missing: the column is `{column}`")),
        None if name.is_empty() => Invalid::new(key, "the header names no columns, or an empty one"),
        None => Invalid::new(key, format!("unknown column; there are {}", COLUMNS.join(", "))),
    }
}

fn parse_line(line: &[u8], order: &[usize; COLUMNS.len()]) -> Result<Session, Invalid> {
    let mut fields: [&[u8]; COLUMNS.len()] = [&[]; COLUMNS.len()];
    let mut count = 0;
    for field in line.split(|&byte| byte == b',') {
        if let Some(&column) = order.get(count) {
            fields[column] = field;
        }
        count += 1;
    }
    if count != COLUMNS.len() {
        return Err(Invalid::new("", format!("{count} fields where the header has {}", COLUMNS.len())));
    }
    let key = |column: usize| move |reason: String| Invalid::new(COLUMNS[column], reason);
    let submit_ns = seconds(fields[2]).map_err(key(2))?;
    let session = Session {
        id: whole(fields[0]).map_err(key(0))?,
        user: whole_u32(fields[1]).map_err(key(1))?,
        submit_ns,
        end_ns: seconds(fields[3]).map_err(key(3))?,
        request: Request {
            cores_milli: whole_u32(fields[4]).map_err(key(4))?,
            gpus: whole_u32(fields[5]).map_err(key(5))?,
            memory_bytes: whole(fields[6]).map_err(key(6))?,
        },
        busy: parse_intervals(fields[7], submit_ns).map_err(key(7))?,
        memory: parse_steps(fields[8], submit_ns).map_err(key(8))?,
        connected: parse_intervals(fields[9], submit_ns).map_err(key(9))?,
    };
    session.validate().map(|()| session)
}

/// `60-75.5 130-131`: seconds after submission.
fn parse_intervals(field: &[u8], submit_ns: u64) -> Result<Box<[Interval]>, String> {
    let parse = |item: &[u8]| {
        let (start, end) =
            split_at(item, b'-').ok_or_else(|| format!("{} is not `start-end`", quoted(item)))?;
        let (start_ns, end_ns) = (offset(start, submit_ns)?, offset(end, submit_ns)?);
        if end_ns <= start_ns {
            return Err(format!("{} must end after it starts", quoted(item)));
        }
        Ok(Interval { start_ns, end_ns })
    };
    items(field).map(parse).collect()
}

/// `0:300000000 75.5:512000000`: seconds after submission, bytes.
fn parse_steps(field: &[u8], submit_ns: u64) -> Result<Box<[MemoryStep]>, String> {
    let parse = |item: &[u8]| {
        let (at, bytes) =
            split_at(item, b':').ok_or_else(|| format!("{} is not `time:bytes`", quoted(item)))?;
        Ok(MemoryStep { at_ns: offset(at, submit_ns)?, bytes: whole(bytes)? })
    };
    items(field).map(parse).collect()
}

/// The items of a field: none if it is empty, else what is between single blanks.
fn items(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|&byte| byte == b' ').filter(move |_| !field.is_empty())
}

fn split_at(item: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = item.iter().position(|&byte| byte == mark)?;
    Some((&item[..at], &item[at + 1..]))
}

fn offset(field: &[u8], submit_ns: u64) -> Result<u64, String> {
    seconds(field)?.checked_add(submit_ns).ok_or_else(|| format!("{} is too large", quoted(field)))
}

/// Writes a session trace that appears when [`SessionWriter::finish`] is called and not before.
pub struct SessionWriter {
    file: AtomicFile,
    last_submit_ns: u64,
    count: u64,
}

impl SessionWriter {
    /// Starts a trace with its header.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> Result<Self, TraceError> {
        let mut file = AtomicFile::create(path)?;
        let wrote = write_header(&mut file);
        file.wrote(wrote)?;
        Ok(Self { file, last_submit_ns: 0, count: 0 })
    }

    /// Appends a session.
    ///
    /// # Errors
    /// The session breaks a rule or is out of order, or the file cannot be written.
    pub fn write(&mut self, session: &Session) -> Result<(), TraceError> {
        self.count += 1;
        session
            .validate()
            .and_then(|()| in_order("submit_s", &mut self.last_submit_ns, session.submit_ns))
            .map_err(|invalid| invalid.at(self.file.path(), self.count + 2))?;
        let wrote = write_session(&mut self.file, session);
        self.file.wrote(wrote)
    }

    /// Makes the trace appear.
    ///
    /// # Errors
    /// The file cannot be written, synced or renamed.
    pub fn finish(self) -> Result<(), TraceError> {
        self.file.commit()
    }
}

/// Writes the version line and the header.
///
/// # Errors
/// As `out`.
pub fn write_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{FIRST_LINE}\n{}", COLUMNS.join(","))
}

/// Writes one session as one line, without checking it.
///
/// # Errors
/// As `out`.
pub fn write_session(out: &mut impl Write, session: &Session) -> io::Result<()> {
    let Session { id, user, submit_ns, end_ns, request, busy, memory, connected } = session;
    let Request { cores_milli, gpus, memory_bytes } = request;
    write!(out, "{id},{user},")?;
    write_seconds(out, *submit_ns)?;
    out.write_all(b",")?;
    write_seconds(out, *end_ns)?;
    write!(out, ",{cores_milli},{gpus},{memory_bytes},")?;
    write_intervals(out, busy, *submit_ns)?;
    out.write_all(b",")?;
    for (index, step) in memory.iter().enumerate() {
        blank_between(out, index)?;
        write_seconds(out, step.at_ns.saturating_sub(*submit_ns))?;
        write!(out, ":{}", step.bytes)?;
    }
    out.write_all(b",")?;
    write_intervals(out, connected, *submit_ns)?;
    out.write_all(b"\n")
}

fn write_intervals(out: &mut impl Write, intervals: &[Interval], submit_ns: u64) -> io::Result<()> {
    for (index, interval) in intervals.iter().enumerate() {
        blank_between(out, index)?;
        write_seconds(out, interval.start_ns.saturating_sub(submit_ns))?;
        out.write_all(b"-")?;
        write_seconds(out, interval.end_ns.saturating_sub(submit_ns))?;
    }
    Ok(())
}

fn blank_between(out: &mut impl Write, index: usize) -> io::Result<()> {
    if index > 0 { out.write_all(b" ") } else { Ok(()) }
}
