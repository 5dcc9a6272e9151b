//! The thread that has the storage take what was written, while more is written: the fsync at the commit then finds
//! little to do, and how fast the storage is shows before.

use crate::pace::Pace;
use crate::pool::lock;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// A part of a file, to be brought to the storage.
struct Range {
    file: Arc<File>,
    offset: u64,
    bytes: u64,
}

/// The thread. Dropping this waits for it to come to the end of what it was given.
pub(crate) struct Flusher {
    /// `None` once it is being dropped.
    ranges: Option<Sender<Range>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(crate) fn start(pace: Arc<Mutex<Pace>>) -> std::io::Result<Self> {
        let (sender, ranges) = channel();
        let builder = std::thread::Builder::new().name("stasis-flush".into());
        let thread = builder.spawn(move || flush(&ranges, &pace))?;
        Ok(Self { ranges: Some(sender), thread: Some(thread) })
    }

    /// Has a part of a file brought to the storage, soon.
    pub(crate) fn begin(&self, file: &Arc<File>, offset: u64, bytes: u64) {
        if let Some(ranges) = &self.ranges {
            // Without the thread nothing is lost but time.
            let _ = ranges.send(Range { file: Arc::clone(file), offset, bytes });
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.ranges.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flush(ranges: &Receiver<Range>, pace: &Mutex<Pace>) {
    let mut under_way: Option<Range> = None;
    while let Ok(range) = ranges.recv() {
        let started = Instant::now();
        sync(&range, libc::SYNC_FILE_RANGE_WRITE);
        // Waiting for the one before shows the storage's pace, and two at once keep it busy.
        if let Some(before) = under_way.replace(range) {
            sync(&before, libc::SYNC_FILE_RANGE_WAIT_BEFORE);
            lock(pace).wrote(before.bytes as usize, started.elapsed());
        }
    }
}

/// Only a hint: failures show at fsync.
fn sync(range: &Range, flags: libc::c_uint) {
    let (offset, bytes) = (range.offset as libc::off64_t, range.bytes as libc::off64_t);
    // SAFETY: the descriptor is open as long as `range` is borrowed; no memory is passed.
    unsafe { libc::sync_file_range(range.file.as_raw_fd(), offset, bytes, flags) };
}
