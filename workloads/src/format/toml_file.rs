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

/// The place of a key that turned out wrong only after the whole file was read: the line (from 1) that sets
/// `key`, or else the nearest table or value that it lies in; 0 if none is to be found.
pub fn line_of(text: &str, key: &str) -> u64 {
    let mut wanted = key;
    loop {
        if let Some(index) = keys(text).position(|set| set == wanted) {
            return index as u64 + 1;
        }
        let Some((parent, _)) = wanted.rsplit_once('.') else { return 0 };
        wanted = parent;
    }
}

/// The key that line `line` (from 1) sets.
fn key_at(text: &str, line: usize) -> String {
    keys(text).nth(line - 1).unwrap_or_default()
}

/// For each line, what it sets: a table, or a key with its table ahead of it. A line that goes on with the
/// value of another gives what it seems to.
fn keys(text: &str) -> impl Iterator<Item = String> {
    let mut table = "";
    text.lines().map(move |line| {
        let line = line.trim();
        if line.starts_with('[') {
            table = line.trim_start_matches('[').split(']').next().unwrap_or("").trim();
            return table.into();
        }
        let key = line.split('=').next().unwrap_or("").trim();
        if table.is_empty() { key.into() } else { format!("{table}.{key}") }
    })
}
