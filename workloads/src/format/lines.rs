//! Lines of a text file with their numbers, through one buffer that is used again. The limit on a line's
//! length keeps a file without line ends from filling the memory. It must not know what a line means.

use crate::error::TraceError;
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

/// The longest line that is read: a session of two million cells still fits.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A file being read line by line.
pub struct Lines<R> {
    input: R,
    file: PathBuf,
    buffer: Vec<u8>,
    number: u64,
}

/// One line without its end.
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes, without `\n` or `\r\n`.
    pub bytes: &'a [u8],
    /// Whether it had an end: only the last line of a file may lack one.
    pub ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`; `file` is for messages only.
    pub fn new(file: &Path, input: R) -> Self {
        Self { input, file: file.to_owned(), buffer: Vec::new(), number: 0 }
    }

    /// The file that messages name.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The next line, or none at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read, or a line is too long to be one.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, TraceError> {
        self.buffer.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX as u64 + 1);
        limited.read_until(b'\n', &mut self.buffer).map_err(|e| TraceError::io(&self.file, "read", e))?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(TraceError::bad(&self.file, self.number, "", "the line is longer than 64 MiB"));
        }
        let (line, ended) = match self.buffer.strip_suffix(b"\n") {
            Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), true),
            None => (&self.buffer[..], false),
        };
        Ok(Some(Line { number: self.number, bytes: line, ended }))
    }

    /// An error at the line read last.
    pub fn bad(&self, key: &str, reason: impl Into<String>) -> TraceError {
        TraceError::bad(&self.file, self.number, key, reason)
    }
}

/// A field for a message: what can be printed, cut to a length that fits a terminal's line.
pub fn quoted(field: &[u8]) -> String {
    const SHOWN_MAX: usize = 40;
    let text = String::from_utf8_lossy(field);
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}
