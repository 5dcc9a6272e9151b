//! How traces lie in files: the project's own session format as CSV and Parquet, and the parts that all
//! readers and writers share. Importers of other people's formats are in [`crate::import`].

pub(crate) mod atomic;
pub(crate) mod calendar;
pub(crate) mod decimal;
pub(crate) mod lines;
pub(crate) mod names;
pub mod session_csv;
#[cfg(feature = "parquet")]
pub mod session_parquet;
pub mod sort;
pub(crate) mod table;
pub mod toml_file;
pub(crate) mod until_error;

use crate::error::{Invalid, TraceError};
use crate::session::Session;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Sessions from somewhere, one at a time, in order of submission.
pub type Sessions = Box<dyn Iterator<Item = Result<Session, TraceError>> + Send>;

/// What a file is read through: large enough that the kernel is seldom asked.
const BUFFER_BYTES: usize = 256 << 10;

/// Opens a file for reading line by line.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open(path: &Path) -> Result<BufReader<File>, TraceError> {
    let file = File::open(path).map_err(|e| TraceError::io(path, "open", e))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

/// Opens a session trace by the ending of its name: `.csv`, or `.parquet` with the feature of that name.
///
/// # Errors
/// The file cannot be opened, its ending is neither, or its header is wrong.
pub fn open_sessions(path: &Path) -> Result<Sessions, TraceError> {
    match ending(path) {
        "csv" => Ok(Box::new(session_csv::SessionReader::open(path)?)),
        #[cfg(feature = "parquet")]
        "parquet" => Ok(Box::new(session_parquet::ParquetReader::open(path)?)),
        _ => Err(unknown_ending(path)),
    }
}

/// Writes a whole session trace, in the format that the ending of its name says, and returns how many
/// sessions there are. The file appears whole or not at all.
///
/// # Errors
/// What the iterator or the writer says; then no file has appeared.
pub fn write_sessions<E: Into<TraceError>>(
    path: &Path,
    sessions: impl Iterator<Item = Result<Session, E>>,
) -> Result<u64, TraceError> {
    match ending(path) {
        "csv" => {
            let mut writer = session_csv::SessionWriter::create(path)?;
            let mut count = 0;
            for session in sessions {
                writer.write(&session.map_err(Into::into)?)?;
                count += 1;
            }
            writer.finish().map(|()| count)
        }
        #[cfg(feature = "parquet")]
        "parquet" => {
            let mut writer = session_parquet::ParquetWriter::create(path)?;
            let mut count = 0;
            for session in sessions {
                writer.write(session.map_err(Into::into)?)?;
                count += 1;
            }
            writer.finish().map(|()| count)
        }
        _ => Err(unknown_ending(path)),
    }
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or("")
}

fn unknown_ending(path: &Path) -> TraceError {
    let formats =
        if cfg!(feature = "parquet") { ".csv or .parquet" } else { ".csv (Parquet is not built in)" };
    TraceError::bad(path, 0, "", format!("a session trace ends in {formats}"))
}

/// Refuses a record that was submitted before the one ahead of it.
pub(crate) fn in_order(key: &str, last_ns: &mut u64, submit_ns: u64) -> Result<(), Invalid> {
    if submit_ns < *last_ns {
        return Err(Invalid::new(key, "out of order: submitted before the line above"));
    }
    *last_ns = submit_ns;
    Ok(())
}
