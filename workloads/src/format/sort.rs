//! Sorting by time of submission without holding the trace: runs that fit the memory are sorted and spilled
//! to temporary files, which are then merged (Knuth, vol. 3, 5.4). Logs list sessions by their end, or by
//! nothing at all, but everything here is read in order of submission.

use crate::error::TraceError;
use crate::job::Job;
use crate::session::Session;
use serde::{Serialize, de::DeserializeOwned};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek as _, Write as _};
use std::path::Path;

/// What can be sorted by its submission.
pub trait Submitted: Serialize + DeserializeOwned {
    /// Nanoseconds since the start of the trace.
    fn submit_ns(&self) -> u64;
    /// How much of the budget it takes, roughly: 1 for itself and 1 for each thing it holds.
    fn weight(&self) -> usize;
}

impl Submitted for Session {
    fn submit_ns(&self) -> u64 {
        self.submit_ns
    }

    fn weight(&self) -> usize {
        4 + self.busy.len() + self.memory.len() + self.connected.len()
    }
}

impl Submitted for Job {
    fn submit_ns(&self) -> u64 {
        self.submit_ns
    }

    fn weight(&self) -> usize {
        4
    }
}

/// About 64 MB of records are held; more is spilled.
const BUDGET: usize = 4 << 20;

/// The most spilled runs that are merged at once, each an open file.
const RUNS_MAX: usize = 256;

/// Sorts records by submission; those of equal time keep their order.
///
/// # Errors
/// The first error of `records`, or a temporary file that fails. `file` is for messages only.
pub fn by_submission<T: Submitted>(
    file: &Path,
    records: impl Iterator<Item = Result<T, TraceError>>,
) -> Result<Sorted<T>, TraceError> {
    within(BUDGET, file, records)
}

fn within<T: Submitted>(
    budget: usize,
    file: &Path,
    records: impl Iterator<Item = Result<T, TraceError>>,
) -> Result<Sorted<T>, TraceError> {
    let mut runs = Vec::new();
    let (mut held, mut weight) = (Vec::new(), 0);
    for record in records {
        let record = record?;
        weight += record.weight();
        held.push(record);
        if weight >= budget {
            held.sort_by_key(T::submit_ns);
            runs.push(Run::spill(file, held.drain(..).map(Ok))?);
            weight = 0;
            if runs.len() == RUNS_MAX {
                let merged = Sorted::merge(file, std::mem::take(&mut runs))?;
                runs.push(Run::spill(file, merged)?);
            }
        }
    }
    held.sort_by_key(T::submit_ns);
    runs.push(Run::Held(held.into_iter()));
    Sorted::merge(file, runs)
}

/// One sorted stretch of the records.
enum Run<T> {
    /// The last one stays in memory.
    Held(std::vec::IntoIter<T>),
    /// The others are files of JSON lines, already without a name, so that nothing is left behind.
    Spilled(BufReader<File>),
}

impl<T: Submitted> Run<T> {
    fn spill(file: &Path, records: impl Iterator<Item = Result<T, TraceError>>) -> Result<Self, TraceError> {
        let failed = |e| TraceError::io(file, "spill to a temporary file while sorting", e);
        let mut out = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        for record in records {
            serde_json::to_writer(&mut out, &record?).map_err(|e| failed(e.into()))?;
            out.write_all(b"\n").map_err(failed)?;
        }
        let mut spilled = out.into_inner().map_err(|e| failed(e.into_error()))?;
        spilled.rewind().map_err(failed)?;
        Ok(Self::Spilled(BufReader::new(spilled)))
    }

    fn next(&mut self, file: &Path, line: &mut String) -> Result<Option<T>, TraceError> {
        match self {
            Self::Held(records) => Ok(records.next()),
            Self::Spilled(input) => {
                let failed = |e| TraceError::io(file, "read back a temporary file while sorting", e);
                line.clear();
                if input.read_line(line).map_err(failed)? == 0 {
                    return Ok(None);
                }
                serde_json::from_str(line).map(Some).map_err(|e| failed(e.into()))
            }
        }
    }
}

/// Records in order of submission.
pub struct Sorted<T> {
    file: Box<Path>,
    runs: Vec<(Run<T>, Option<T>)>,
    /// The first record of each run that has one left: by time, then by run, which keeps equals in order.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    line: String,
}

impl<T: Submitted> Sorted<T> {
    fn merge(file: &Path, runs: Vec<Run<T>>) -> Result<Self, TraceError> {
        let runs = runs.into_iter().map(|run| (run, None)).collect();
        let mut sorted = Self { file: file.into(), runs, heads: BinaryHeap::new(), line: String::new() };
        for index in 0..sorted.runs.len() {
            sorted.refill(index)?;
        }
        Ok(sorted)
    }

    fn refill(&mut self, index: usize) -> Result<(), TraceError> {
        let (run, head) = &mut self.runs[index];
        *head = run.next(&self.file, &mut self.line)?;
        if let Some(record) = head {
            self.heads.push(Reverse((record.submit_ns(), index)));
        }
        Ok(())
    }
}

impl<T: Submitted> Iterator for Sorted<T> {
    type Item = Result<T, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, index)) = self.heads.pop()?;
        let record = self.runs[index].1.take()?;
        match self.refill(index) {
            Ok(()) => Some(Ok(record)),
            Err(error) => {
                self.heads.clear();
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobStatus;

    fn job(id: u64, submit_ns: u64) -> Job {
        Job {
            id,
            submit_ns,
            run_ns: 1,
            requested_ns: 1,
            wait_ns: None,
            processors: 1,
            memory_bytes: 0,
            user: 0,
            partition: 0,
            status: JobStatus::Unknown,
        }
    }

    #[test]
    fn spilled_runs_merge_in_order_and_keep_equals_in_order() {
        // A budget of 40 holds ten jobs: 10,000 of them make a thousand runs, so merging happens twice.
        let jobs: Vec<Job> = (0..10_000).map(|id| job(id, id * 7919 % 501)).collect();
        let sorted = within(40, Path::new("x"), jobs.iter().copied().map(Ok)).unwrap();
        let sorted: Vec<Job> = sorted.map(Result::unwrap).collect();
        let mut expected = jobs;
        expected.sort_by_key(|job| job.submit_ns);
        assert_eq!(sorted, expected);
    }

    #[test]
    fn an_error_among_the_records_comes_out() {
        let records = vec![Ok(job(1, 5)), Err(TraceError::bad(Path::new("x"), 3, "k", "bad"))];
        let Err(error) = by_submission(Path::new("x"), records.into_iter()) else { panic!("no error") };
        assert_eq!(error.to_string(), "x:3: k: bad");
    }
}
