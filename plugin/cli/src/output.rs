//! The way out: whatever is printed is printed whole and at once, and a reader who leaves early is no error.

use crate::error::{CliError, Result};
use crate::text::clean;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Writes to standard output. A closed pipe (`stasis list | head`) ends the writing, not the program.
///
/// # Errors
/// When the output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Io { what: "write the output".into(), source: error })
        }
        _ => Ok(()),
    }
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::Io { what: "write JSON".into(), source: error.into() })?;
    print(&(text + "\n"))
}

/// Writes a remark to standard error, where scripts do not look for results. An error can carry text of anybody's.
pub fn remark(text: &str) {
    let lines: Vec<String> = text.lines().map(clean).collect();
    let _ = writeln!(std::io::stderr().lock(), "stasis: {}", lines.join("\n"));
}
