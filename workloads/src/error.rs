//! One error for everything that reads or writes a trace, so that a user always learns which file,
//! which line and which key is wrong. It must not know any format.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong with a trace, and where.
///
/// Boxed inside, so that a `Result` of it stays small on the reading path.
#[derive(Debug)]
pub struct TraceError(Box<Detail>);

#[derive(Debug)]
struct Detail {
    file: PathBuf,
    line: u64,
    key: String,
    reason: String,
    source: Option<io::Error>,
}

impl TraceError {
    /// A line that says something wrong. `line` counts from 1; 0 means the file as a whole.
    /// `key` is the column or field at fault; empty if the line as a whole is.
    pub fn bad(file: &Path, line: u64, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            file: file.to_owned(),
            line,
            key: key.into(),
            reason: reason.into(),
            source: None,
        }))
    }

    /// A file that could not be opened, read, written or renamed; `verb` says which.
    pub fn io(file: &Path, verb: &str, source: io::Error) -> Self {
        Self(Box::new(Detail {
            file: file.to_owned(),
            line: 0,
            key: String::new(),
            reason: format!("couldn't {verb}"),
            source: Some(source),
        }))
    }

    /// The file at fault.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// The line at fault, counted from 1, or 0 when the whole file is.
    pub fn line(&self) -> u64 {
        self.0.line
    }

    /// The column, field or key at fault, or the empty string when the whole line is.
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// What is wrong, without the place.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.file.display())?;
        if self.0.line > 0 {
            write!(f, ":{}", self.0.line)?;
        }
        if !self.0.key.is_empty() {
            write!(f, ": {}", self.0.key)?;
        }
        write!(f, ": {}", self.0.reason)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TraceError {
    // The source is already part of the message, so it is not offered again.
}

/// A value that breaks a rule of the model, before anyone knows which file and line it came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Invalid {
    /// The column, field or key at fault.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// An [`Invalid`] for `key`.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }

    /// The same complaint with its place.
    #[must_use]
    pub fn at(self, file: &Path, line: u64) -> TraceError {
        TraceError::bad(file, line, self.key, self.reason)
    }
}
