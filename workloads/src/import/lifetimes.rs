//! Lives of preemptible machines, as in the data of Kadupitiya et al. (HPDC 2020): a CSV with a column
//! `lifetime_s` (seconds from boot to preemption); other columns are passed over.

use crate::error::TraceError;
use crate::format::atomic::AtomicFile;
use crate::format::decimal::write_seconds;
use crate::format::lines::Lines;
use crate::format::open;
use crate::format::table::{Column, Table, measured};
use crate::format::until_error::until_error;
use crate::law::seconds_to_ns;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

/// The one column that is needed.
pub const COLUMN: &str = "lifetime_s";

/// Reads lives one at a time, each in nanoseconds. After an error it is at its end.
pub struct LifetimeReader<R> {
    table: Table<R>,
    column: Column,
    done: bool,
}

impl LifetimeReader<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// It cannot be opened, or has no such column.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        Self::new(path, open(path)?)
    }
}

impl<R: BufRead> LifetimeReader<R> {
    /// Reads the header from `input`; `file` is for messages only.
    ///
    /// # Errors
    /// There is no column `lifetime_s`.
    pub fn new(file: &Path, input: R) -> Result<Self, TraceError> {
        let table = Table::new(Lines::new(file, input), b',')?;
        let column = match (table.find(COLUMN), table.find("lifetime")) {
            (None, Some(_)) => {
                return Err(table.bad("lifetime", "the unit is missing: the column is `lifetime_s`"));
            }
            _ => table.need(COLUMN)?,
        };
        Ok(Self { table, column, done: false })
    }

    fn read(&mut self) -> Result<Option<u64>, TraceError> {
        if !self.table.advance()? {
            return Ok(None);
        }
        let lifetime_ns = seconds_to_ns(self.table.parse(self.column, measured)?);
        if lifetime_ns == 0 {
            return Err(self.table.bad(COLUMN, "a life must be longer than nothing"));
        }
        Ok(Some(lifetime_ns))
    }
}

impl<R: BufRead> Iterator for LifetimeReader<R> {
    type Item = Result<u64, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_error(self, |reader| &mut reader.done, Self::read)
    }
}

/// Writes lives in nanoseconds and returns how many there are. The file appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_lifetimes(path: &Path, lifetimes_ns: impl Iterator<Item = u64>) -> Result<u64, TraceError> {
    let mut file = AtomicFile::create(path)?;
    let mut count = 0;
    let wrote = (|| {
        writeln!(file, "{COLUMN}")?;
        for lifetime_ns in lifetimes_ns {
            write_seconds(&mut file, lifetime_ns)?;
            file.write_all(b"\n")?;
            count += 1;
        }
        Ok(())
    })();
    file.wrote(wrote)?;
    file.commit().map(|()| count)
}
