//! The notebook training events published with NotebookOS (repository ds2-lab/NotebookOS-Dashboard): one row
//! per cell execution, with columns `job_id, num_gpu, submit_time, iterations, model_name, duration,
//! interval`. Session ids were dropped from it; a session ends where `submit_time` goes down. Times are
//! minutes. A notebook runs one cell at a time, so a cell that is submitted while another runs waits for it.

use super::USUAL_REQUEST;
use crate::error::TraceError;
use crate::format::decimal::{scaled, whole_u32};
use crate::format::lines::Lines;
use crate::format::open;
use crate::format::sort::{Sorted, by_submission};
use crate::format::table::{Column, Table};
use crate::format::until_error::until_error;
use crate::session::{Interval, NS_PER_S, Request, Session};
use std::io::BufRead;
use std::path::Path;

/// What the data does not say and an importer must assume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Nanoseconds per unit of `submit_time` and `duration`: a minute.
    pub tick_ns: u64,
    /// Cores and memory that each session asked for (its GPUs are in the data).
    pub request: Request,
    /// How long a user stays after the last cell, in nanoseconds.
    pub linger_ns: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { tick_ns: 60 * NS_PER_S, request: USUAL_REQUEST, linger_ns: 0 }
    }
}

/// The sessions of a file in order of submission. Memory and the browser are not in the data, so neither
/// is in the sessions; every session is its own user.
///
/// # Errors
/// The file cannot be read, or a row is wrong.
pub fn sessions(path: &Path, options: Options) -> Result<Sorted<Session>, TraceError> {
    by_submission(path, NotebookosReader::new(path, open(path)?, options)?)
}

/// Reads sessions one at a time, in the file's order. After an error it is at its end.
pub struct NotebookosReader<R> {
    table: Table<R>,
    submit: Column,
    duration: Column,
    gpus: Column,
    options: Options,
    pending: Option<Cell>,
    next_id: u64,
    done: bool,
}

#[derive(Clone, Copy)]
struct Cell {
    submit_ns: u64,
    duration_ns: u64,
    gpus: u32,
}

impl<R: BufRead> NotebookosReader<R> {
    /// Reads the header; `file` is for messages only.
    ///
    /// # Errors
    /// The header lacks a column.
    pub fn new(file: &Path, input: R, options: Options) -> Result<Self, TraceError> {
        let table = Table::new(Lines::new(file, input), b',')?;
        let (submit, duration, gpus) =
            (table.need("submit_time")?, table.need("duration")?, table.need("num_gpu")?);
        Ok(Self { table, submit, duration, gpus, options, pending: None, next_id: 0, done: false })
    }

    fn cell(&mut self) -> Result<Option<Cell>, TraceError> {
        if !self.table.advance()? {
            return Ok(None);
        }
        let time = |field: &[u8]| scaled(field, self.options.tick_ns);
        let cell = Cell {
            submit_ns: self.table.parse(self.submit, time)?,
            duration_ns: self.table.parse(self.duration, time)?,
            gpus: self.table.parse(self.gpus, whole_u32)?,
        };
        if cell.duration_ns == 0 {
            return Err(self.table.bad("duration", "a cell must run for longer than nothing"));
        }
        Ok(Some(cell))
    }

    fn read(&mut self) -> Result<Option<Session>, TraceError> {
        let first = match self.pending.take() {
            Some(cell) => cell,
            None => match self.cell()? {
                Some(cell) => cell,
                None => return Ok(None),
            },
        };
        let (mut busy, mut gpus) = (vec![self.after(0, first)?], first.gpus);
        let mut last_submit_ns = first.submit_ns;
        while let Some(cell) = self.cell()? {
            if cell.submit_ns < last_submit_ns {
                self.pending = Some(cell);
                break;
            }
            last_submit_ns = cell.submit_ns;
            gpus = gpus.max(cell.gpus);
            let free_ns = busy.last().map_or(0, |last| last.end_ns);
            busy.push(self.after(free_ns, cell)?);
        }
        self.session(first.submit_ns, gpus, busy).map(Some)
    }

    /// When `cell` runs, if the notebook is free from `free_ns` on.
    fn after(&self, free_ns: u64, cell: Cell) -> Result<Interval, TraceError> {
        let start_ns = free_ns.max(cell.submit_ns);
        let end_ns = start_ns.checked_add(cell.duration_ns).ok_or_else(|| self.too_long("duration"))?;
        Ok(Interval { start_ns, end_ns })
    }

    fn session(&mut self, submit_ns: u64, gpus: u32, busy: Vec<Interval>) -> Result<Session, TraceError> {
        let idle_from_ns = busy.last().map_or(submit_ns, |last| last.end_ns);
        let id = self.next_id;
        self.next_id += 1;
        Ok(Session {
            id,
            user: u32::try_from(id).unwrap_or(u32::MAX),
            submit_ns,
            end_ns: idle_from_ns
                .checked_add(self.options.linger_ns)
                .ok_or_else(|| self.too_long("duration"))?,
            request: Request { gpus, ..self.options.request },
            busy: busy.into(),
            memory: Box::default(),
            connected: Box::default(),
        })
    }

    fn too_long(&self, key: &str) -> TraceError {
        self.table.bad(key, "the session would last beyond the year 584 of the trace")
    }
}

impl<R: BufRead> Iterator for NotebookosReader<R> {
    type Item = Result<Session, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_error(self, |reader| &mut reader.done, Self::read)
    }
}
