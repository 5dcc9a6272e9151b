//! TOML files with errors that name file, line and key, for generator specifications here and scenarios
//! elsewhere. The `toml` crate knows the place of an error as a span of bytes; this makes it a line and a key.

use crate::error::TraceError;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a value from TOML text; `file` is for messages only.
///
/// # Errors
/// The text is not TOML or not a `T`: with line and key.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, TraceError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at].split(|&byte| byte == b'\n').count();
        let (key, reason) = (key_at(text, line), error.message().trim_end().replace('\n', "; "));
        TraceError::bad(file, line as u64, key, reason)
    })
}

/// Reads a TOML file.
///
/// # Errors
/// It cannot be read, or as [`parse`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, TraceError> {
    let text = std::fs::read_to_string(path).map_err(|e| TraceError::io(path, "read", e))?;
    parse(path, &text)
}

/// The key that line `line` (from 1) sets, below the table that is open there.
fn key_at(text: &str, line: usize) -> String {
    let mut table = "";
    for (index, content) in text.lines().enumerate().take(line) {
        let content = content.trim();
        if content.starts_with('[') {
            table = content.trim_start_matches('[').split(']').next().unwrap_or("").trim();
        }
        if index + 1 == line && !content.starts_with('[') {
            let key = content.split('=').next().unwrap_or("").trim();
            return if table.is_empty() { key.into() } else { format!("{table}.{key}") };
        }
    }
    table.into()
}
