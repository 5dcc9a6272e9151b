//! The session trace as Parquet: the same sessions as the CSV, one row each, columns in nanoseconds and
//! bytes, for programs that read columns. FORMAT.md defines it. Read and written in batches, so a trace is
//! never held. The decoder is a library that was not made for hostile files: should it panic, that is
//! caught here and becomes an error like any other.

use super::atomic::AtomicFile;
use super::in_order;
use super::until_error::until_error;
use crate::error::{Invalid, TraceError};
use crate::session::{Interval, MemoryStep, Request, Session};
use parquet::basic::{Compression, Repetition, Type};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::Int64Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The key of the file's metadata that carries the version of the format.
const VERSION: (&str, &str) = ("stasis-sessions", "1");

/// Columns with one number per session, then columns with a list.
const SINGLE: [&str; 7] = ["id", "user", "submit_ns", "end_ns", "cores_milli", "gpus", "memory_bytes"];
const LISTS: [&str; 6] = [
    "busy_start_ns",
    "busy_end_ns",
    "memory_at_ns",
    "memory_used_bytes",
    "connected_start_ns",
    "connected_end_ns",
];

/// Sessions that are held at once while reading, and written as one row group.
const BATCH: usize = 4096;

fn schema() -> String {
    let single = SINGLE.iter().map(|name| format!("required int64 {name} (INTEGER(64,false));"));
    let lists = LISTS.iter().map(|name| format!("repeated int64 {name} (INTEGER(64,false));"));
    format!("message session {{ {} }}", single.chain(lists).collect::<Vec<_>>().join(" "))
}

/// Writes a session trace that appears when [`ParquetWriter::finish`] is called and not before.
pub struct ParquetWriter {
    writer: SerializedFileWriter<AtomicFile>,
    path: PathBuf,
    held: Vec<Session>,
    last_submit_ns: u64,
    count: u64,
}

impl ParquetWriter {
    /// Starts a trace.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> Result<Self, TraceError> {
        let failed = |e| at(path, 0, &e);
        let version = KeyValue::new(VERSION.0.to_string(), VERSION.1.to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let schema = Arc::new(parse_message_type(&schema()).map_err(failed)?);
        let file = AtomicFile::create(path)?;
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?;
        Ok(Self { writer, path: path.to_owned(), held: Vec::new(), last_submit_ns: 0, count: 0 })
    }

    /// Appends a session.
    ///
    /// # Errors
    /// The session breaks a rule or is out of order, or the file cannot be written.
    pub fn write(&mut self, session: Session) -> Result<(), TraceError> {
        self.count += 1;
        session
            .validate()
            .and_then(|()| in_order("submit_ns", &mut self.last_submit_ns, session.submit_ns))
            .map_err(|invalid| invalid.at(&self.path, self.count))?;
        self.held.push(session);
        if self.held.len() == BATCH { self.flush() } else { Ok(()) }
    }

    /// Makes the trace appear.
    ///
    /// # Errors
    /// The file cannot be written, synced or renamed.
    pub fn finish(mut self) -> Result<(), TraceError> {
        self.flush()?;
        self.writer.into_inner().map_err(|e| at(&self.path, 0, &e))?.commit()
    }

    fn flush(&mut self) -> Result<(), TraceError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let written = write_group(&mut self.writer, &self.held);
        self.held.clear();
        written.map_err(|e| at(&self.path, self.count, &e))
    }
}

fn write_group(
    writer: &mut SerializedFileWriter<AtomicFile>,
    sessions: &[Session],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    let mut index = 0;
    while let Some(mut column) = group.next_column()? {
        let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
        let is_list = index >= SINGLE.len();
        for session in sessions {
            let before = values.len();
            cell(session, index, &mut values);
            let count = values.len() - before;
            // An empty list is one entry that defines nothing; in others all but the first repeat.
            definitions.extend(std::iter::repeat_n(i16::from(count > 0), count.max(1)));
            repetitions.extend((0..count.max(1)).map(|nth| i16::from(nth > 0)));
        }
        let levels = is_list.then_some((&definitions[..], &repetitions[..])).unzip();
        column.typed::<Int64Type>().write_batch(&values, levels.0, levels.1)?;
        column.close()?;
        index += 1;
    }
    group.close().map(drop)
}

/// Appends what `session` has in column `index`.
fn cell(session: &Session, index: usize, values: &mut Vec<i64>) {
    // Bit patterns: the column's type says that they are unsigned.
    let mut put = |value: u64| values.push(value.cast_signed());
    let Session { id, user, submit_ns, end_ns, request, busy, memory, connected } = session;
    match index {
        0 => put(*id),
        1 => put(u64::from(*user)),
        2 => put(*submit_ns),
        3 => put(*end_ns),
        4 => put(u64::from(request.cores_milli)),
        5 => put(u64::from(request.gpus)),
        6 => put(request.memory_bytes),
        7 => busy.iter().for_each(|interval| put(interval.start_ns)),
        8 => busy.iter().for_each(|interval| put(interval.end_ns)),
        9 => memory.iter().for_each(|step| put(step.at_ns)),
        10 => memory.iter().for_each(|step| put(step.bytes)),
        11 => connected.iter().for_each(|interval| put(interval.start_ns)),
        _ => connected.iter().for_each(|interval| put(interval.end_ns)),
    }
}

/// Reads a session trace, one session at a time. After an error it is at its end. In its errors the line
/// is the number of the row, from 1.
pub struct ParquetReader {
    file: SerializedFileReader<File>,
    path: PathBuf,
    next_group: usize,
    columns: Vec<ColumnReaderImpl<Int64Type>>,
    batch: std::vec::IntoIter<Session>,
    row: u64,
    last_submit_ns: u64,
    done: bool,
}

impl ParquetReader {
    /// Opens a trace and checks its version and columns.
    ///
    /// # Errors
    /// It cannot be opened, is not Parquet, or has other columns.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let input = File::open(path).map_err(|e| TraceError::io(path, "open", e))?;
        let file = guarded(path, 0, || {
            let file = SerializedFileReader::new(input).map_err(|e| at(path, 0, &e))?;
            check(&file).map_err(|invalid| invalid.at(path, 0))?;
            Ok(file)
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            next_group: 0,
            columns: Vec::new(),
            batch: Vec::new().into_iter(),
            row: 0,
            last_submit_ns: 0,
            done: false,
        })
    }

    fn read(&mut self) -> Result<Option<Session>, TraceError> {
        loop {
            if let Some(session) = self.batch.next() {
                self.row += 1;
                let checked = session
                    .validate()
                    .and_then(|()| in_order("submit_ns", &mut self.last_submit_ns, session.submit_ns));
                return checked.map(|()| Some(session)).map_err(|invalid| invalid.at(&self.path, self.row));
            }
            let (path, row) = (self.path.clone(), self.row + 1);
            let batch = guarded(&path, row, || self.next_batch().map_err(|invalid| invalid.at(&path, row)))?;
            let Some(batch) = batch else { return Ok(None) };
            self.batch = batch.into_iter();
        }
    }

    /// The next sessions, or none at the end; empty at the end of a row group.
    fn next_batch(&mut self) -> Result<Option<Vec<Session>>, Invalid> {
        let failed = |e: ParquetError| Invalid::new("", e.to_string());
        if self.columns.is_empty() {
            if self.next_group == self.file.num_row_groups() {
                return Ok(None);
            }
            let group = self.file.get_row_group(self.next_group).map_err(failed)?;
            self.next_group += 1;
            for index in 0..SINGLE.len() + LISTS.len() {
                self.columns.push(get_typed_column_reader(group.get_column_reader(index).map_err(failed)?));
            }
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        for (column, name) in self.columns.iter_mut().zip(names()) {
            cells.push(read_lists(column).map_err(|e| Invalid::new(name, e.to_string()))?);
        }
        let rows = cells.first().map_or(0, Vec::len);
        if let Some(uneven) = cells.iter().position(|column| column.len() != rows) {
            return Err(Invalid::new(
                names().nth(uneven).unwrap_or(""),
                "the column has not as many rows as the first",
            ));
        }
        if rows == 0 {
            self.columns.clear();
        }
        let mut columns: Vec<_> = cells.into_iter().map(Vec::into_iter).collect();
        (0..rows).map(|_| session(&mut columns)).collect::<Result<_, _>>().map(Some)
    }
}

impl Iterator for ParquetReader {
    type Item = Result<Session, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_error(self, |reader| &mut reader.done, Self::read)
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    SINGLE.into_iter().chain(LISTS)
}

fn check(file: &SerializedFileReader<File>) -> Result<(), Invalid> {
    let metadata = file.metadata().file_metadata();
    let version = metadata.key_value_metadata().into_iter().flatten().find(|pair| pair.key == VERSION.0);
    if version.and_then(|pair| pair.value.as_deref()) != Some(VERSION.1) {
        return Err(Invalid::new(VERSION.0, format!("the file's metadata must say version {}", VERSION.1)));
    }
    let columns = metadata.schema_descr().columns();
    for (index, name) in names().enumerate() {
        let Some(column) = columns.get(index).filter(|column| column.name() == name) else {
            return Err(Invalid::new(name, format!("must be column {}", index + 1)));
        };
        let repetition = if index < SINGLE.len() { Repetition::REQUIRED } else { Repetition::REPEATED };
        let is_flat = column.path().parts().len() == 1
            && column.self_type().get_basic_info().repetition() == repetition;
        if !is_flat || column.physical_type() != Type::INT64 {
            return Err(Invalid::new(name, format!("must be `{repetition} int64`")));
        }
    }
    match columns.get(SINGLE.len() + LISTS.len()) {
        Some(extra) => Err(Invalid::new(extra.name(), "unknown column")),
        None => Ok(()),
    }
}

/// The next rows of one column, each as a list (of one number, for a column without lists).
fn read_lists(column: &mut ColumnReaderImpl<Int64Type>) -> Result<Vec<Vec<u64>>, ParquetError> {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    let (records, count, _) =
        column.read_records(BATCH, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
    let mut values = values.into_iter().map(i64::cast_unsigned);
    if definitions.is_empty() {
        return Ok(values.take(count.min(records)).map(|value| vec![value]).collect());
    }
    let mut rows: Vec<Vec<u64>> = Vec::with_capacity(records);
    for (definition, repetition) in definitions.into_iter().zip(repetitions) {
        if repetition == 0 {
            rows.push(Vec::new());
        }
        let value = if definition > 0 { values.next() } else { None };
        if let (Some(row), Some(value)) = (rows.last_mut(), value) {
            row.push(value);
        }
    }
    Ok(rows)
}

fn session(columns: &mut [std::vec::IntoIter<Vec<u64>>]) -> Result<Session, Invalid> {
    let mut row =
        columns.iter_mut().zip(names()).map(|(column, name)| (name, column.next().unwrap_or_default()));
    let mut next = || row.next().unwrap_or_default();
    let mut one = || {
        let (name, values) = next();
        values.first().copied().ok_or_else(|| Invalid::new(name, "is missing"))
    };
    let (id, user, submit_ns, end_ns) = (one()?, small("user", one()?)?, one()?, one()?);
    let request = Request {
        cores_milli: small("cores_milli", one()?)?,
        gpus: small("gpus", one()?)?,
        memory_bytes: one()?,
    };
    let mut pairs = || {
        let ((name, first), (_, second)) = (next(), next());
        if first.len() != second.len() {
            return Err(Invalid::new(name, "the list is not as long as its partner"));
        }
        Ok(first.into_iter().zip(second))
    };
    let interval = |(start_ns, end_ns)| Interval { start_ns, end_ns };
    let busy = pairs()?.map(interval).collect();
    let memory = pairs()?.map(|(at_ns, bytes)| MemoryStep { at_ns, bytes }).collect();
    let connected = pairs()?.map(interval).collect();
    Ok(Session { id, user, submit_ns, end_ns, request, busy, memory, connected })
}

fn small(name: &str, value: u64) -> Result<u32, Invalid> {
    u32::try_from(value).map_err(|_| Invalid::new(name, format!("{value} is too large")))
}

fn at(path: &Path, row: u64, error: &ParquetError) -> TraceError {
    TraceError::bad(path, row, "", error.to_string())
}

/// Runs the decoder; a panic inside is an error outside. What it left half-done is not used again: every
/// reader here is at its end after an error.
fn guarded<T>(
    path: &Path,
    row: u64,
    decode: impl FnOnce() -> Result<T, TraceError>,
) -> Result<T, TraceError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(TraceError::bad(path, row, "", "the Parquet decoder failed on this file")))
}
