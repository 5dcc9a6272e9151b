//! Text tables of other programs: a header line names the columns, every further line is a row. Driven by
//! the header, because exports differ in which columns they have and in what order.

use super::lines::{Lines, quoted};
use crate::error::TraceError;
use std::io::BufRead;
use std::ops::Range;

/// A table being read row by row.
pub struct Table<R> {
    lines: Lines<R>,
    delimiter: u8,
    header: Vec<Vec<u8>>,
    fields: Vec<Range<usize>>,
    row: Vec<u8>,
}

/// Where a column is. Only the table that gave it can use it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    index: usize,
    name: &'static str,
}

impl<R: BufRead> Table<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or names a column twice.
    pub fn new(mut lines: Lines<R>, delimiter: u8) -> Result<Self, TraceError> {
        let header_line = lines.next_line()?.map(|line| line.bytes.to_vec());
        let Some(header_line) = header_line else {
            return Err(lines.bad("", "the file is empty: there is no header"));
        };
        let mut table = Self { lines, delimiter, header: Vec::new(), fields: Vec::new(), row: header_line };
        table.split();
        table.header =
            table.fields.iter().map(|range| table.row[range.clone()].trim_ascii().to_vec()).collect();
        for (index, name) in table.header.iter().enumerate() {
            if table.header[..index].contains(name) {
                return Err(table.lines.bad(&String::from_utf8_lossy(name), "the column is there twice"));
            }
        }
        Ok(table)
    }

    /// The column called `name`, if there is one.
    pub fn find(&self, name: &'static str) -> Option<Column> {
        let index = self.header.iter().position(|column| column == name.as_bytes())?;
        Some(Column { index, name })
    }

    /// The column called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn need(&self, name: &'static str) -> Result<Column, TraceError> {
        self.find(name).ok_or_else(|| self.lines.bad(name, "the header lacks this column"))
    }

    /// Goes to the next row; blank lines are passed over. False at the end.
    ///
    /// # Errors
    /// The file cannot be read, or the row has not as many fields as the header.
    pub fn advance(&mut self) -> Result<bool, TraceError> {
        loop {
            let Some(line) = self.lines.next_line()? else { return Ok(false) };
            if line.bytes.trim_ascii().is_empty() {
                continue;
            }
            self.row.clear();
            self.row.extend_from_slice(line.bytes);
            self.split();
            if self.fields.len() == self.header.len() {
                return Ok(true);
            }
            let reason = format!("{} fields where the header has {}", self.fields.len(), self.header.len());
            return Err(self.lines.bad("", reason));
        }
    }

    /// The row's field in `column`, without surrounding blanks.
    pub fn field(&self, column: Column) -> &[u8] {
        self.fields.get(column.index).map_or(&[][..], |range| self.row[range.clone()].trim_ascii())
    }

    /// The row's field in `column`, read by `parse`.
    ///
    /// # Errors
    /// What `parse` says, with file, line and column.
    pub fn parse<T>(
        &self,
        column: Column,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, TraceError> {
        parse(self.field(column)).map_err(|reason| self.lines.bad(column.name, reason))
    }

    /// An error in the current row.
    pub fn bad(&self, key: &str, reason: impl Into<String>) -> TraceError {
        self.lines.bad(key, reason)
    }

    /// Finds the fields of `row`. Between commas a field may be in double quotes, which then are dropped;
    /// line ends inside quotes are not supported.
    fn split(&mut self) {
        self.fields.clear();
        let (mut start, mut in_quotes) = (0, false);
        for (index, &byte) in self.row.iter().enumerate() {
            if byte == b'"' && self.delimiter == b',' {
                in_quotes = !in_quotes;
            } else if byte == self.delimiter && !in_quotes {
                self.fields.push(unquoted(&self.row, start..index));
                start = index + 1;
            }
        }
        self.fields.push(unquoted(&self.row, start..self.row.len()));
    }
}

fn unquoted(row: &[u8], range: Range<usize>) -> Range<usize> {
    match &row[range.clone()] {
        [b'"', .., b'"'] => range.start + 1..range.end - 1,
        _ => range,
    }
}

/// A finite number of 0 or more, for columns that are measured and not exact.
pub fn measured(field: &[u8]) -> Result<f64, String> {
    let number: Option<f64> = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    match number {
        Some(number) if number.is_finite() && number >= 0.0 => Ok(number),
        Some(number) if number < 0.0 => Err(format!("{} is negative", quoted(field))),
        _ => Err(format!("{} is not a finite number", quoted(field))),
    }
}
