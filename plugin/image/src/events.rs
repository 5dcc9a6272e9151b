//! A job's event log in the store: one JSON line per step, written with one write each.
//!
//! The log is the user's file and anything can be in it, so reading is bounded and skips what it cannot read.

use crate::candidate::printable;
use crate::error::StoreError;
use crate::name::EVENTS;
use crate::store::Job;
use nix::fcntl::OFlag;
use stasis_contract::Event;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most bytes that are read, from the log's end.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Longest line that is read.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What a job's event log holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventLog {
    /// The events, the oldest first. Text in them has no control characters.
    pub events: Vec<Event>,
    /// Lines that are no events, or too long, or cut off.
    pub unreadable_lines: usize,
    /// Whether the log is longer than is read, so that the oldest events are not here.
    pub shortened: bool,
}

impl Job {
    /// Appends one line to the job's event log. It becomes durable in its own time.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn append_event(&self, event: &Event) -> Result<(), StoreError> {
        let worn = self.user().wear()?;
        let dir = self.make_dir(&worn)?;
        let path = dir.path_of(EVENTS);
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT;
        let file = dir.file(&worn, EVENTS, flags)?.ok_or_else(|| StoreError::NoStore(path.clone()))?;
        append(file, event).map_err(|source| StoreError::io("write", &path, source))
    }

    /// Reads the job's event log.
    ///
    /// # Errors
    /// When the log cannot be read. None at all is no error.
    pub fn events(&self) -> Result<EventLog, StoreError> {
        let worn = self.user().wear()?;
        let Some(dir) = self.dir(&worn)? else { return Ok(EventLog::default()) };
        let Some(file) = dir.file(&worn, EVENTS, OFlag::O_RDONLY)? else { return Ok(EventLog::default()) };
        read(&file, &dir.path_of(EVENTS))
    }
}

fn append(mut file: File, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    // A line that an earlier run left cut off must not spoil this one.
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != [b'\n'] {
        line.insert(0, b'\n');
    }
    file.write_all(&line)
}

fn read(file: &File, path: &Path) -> Result<EventLog, StoreError> {
    let failed = |source| StoreError::io("read", path, source);
    let length = file.metadata().map_err(failed)?.len();
    let begin = length.saturating_sub(LOG_BYTES_MAX);
    let mut bytes = vec![0; (length - begin) as usize];
    file.read_exact_at(&mut bytes, begin).map_err(failed)?;
    let mut log = parse(&bytes, begin > 0);
    log.shortened = begin > 0;
    Ok(log)
}

fn parse(bytes: &[u8], begins_inside: bool) -> EventLog {
    let mut log = EventLog::default();
    let lines = bytes.split(|byte| *byte == b'\n').skip(usize::from(begins_inside));
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Event>(line) {
            Ok(mut event) if line.len() <= LINE_BYTES_MAX => {
                event.node = printable(&event.node);
                event.message = event.message.as_deref().map(printable);
                log.events.push(event);
            }
            _ => log.unreadable_lines += 1,
        }
    }
    log
}
