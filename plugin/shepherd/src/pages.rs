//! Packing the pages of memory while CRIU writes them: CRIU appends to one `pages-N.img` after the other, and
//! by the time it is done, most of what it wrote is compressed, authenticated and in the store.

use crate::checkpoint::CheckpointError;
use stasis_contract::Compression;
use stasis_image::StagedImage;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a file is looked at that has not grown: memory arrives in megabytes per millisecond.
const PAUSE: Duration = Duration::from_millis(1);

/// The thread that packs pages.
#[derive(Debug)]
pub struct PagePacker {
    thread: JoinHandle<Result<(), CheckpointError>>,
    dumped: Arc<AtomicBool>,
}

impl PagePacker {
    /// Starts to pack what appears in CRIU's folder.
    pub fn start(staged: Arc<StagedImage>, images: PathBuf, compression: Compression) -> Self {
        let dumped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&dumped);
        let thread = thread::spawn(move || pack(&staged, &images, compression, &stop));
        Self { thread, dumped }
    }

    /// CRIU has written all it will write: packs the rest.
    pub fn finish(self) -> Result<(), CheckpointError> {
        self.dumped.store(true, Ordering::Release);
        self.thread.join().unwrap_or(Err(CheckpointError::Internal("packing pages panicked")))
    }
}

/// Whether this file of CRIU's is packed here.
pub fn is_pages(name: &str) -> bool {
    name.strip_prefix("pages-").is_some_and(|rest| rest.strip_suffix(".img").is_some())
}

fn path(images: &Path, number: u32) -> PathBuf {
    images.join(format!("pages-{number}.img"))
}

fn pack(
    staged: &StagedImage,
    images: &Path,
    compression: Compression,
    dumped: &AtomicBool,
) -> Result<(), CheckpointError> {
    let mut number = 1;
    loop {
        // In this order: a file that appeared before the end is seen after it.
        let last_look = dumped.load(Ordering::Acquire);
        match File::open(path(images, number)) {
            Ok(file) => {
                let growing = Growing { file, next: path(images, number + 1), dumped };
                staged.add(&format!("pages-{number}.img"), compression, growing)?;
                number += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && last_look => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => thread::sleep(PAUSE),
            Err(source) => return Err(CheckpointError::Scratch { path: path(images, number), source }),
        }
    }
}

/// A file that somebody else appends to, until there is a next one or no more at all.
struct Growing<'a> {
    file: File,
    next: PathBuf,
    dumped: &'a AtomicBool,
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // In this order: what was appended before the end is read after it.
            let complete = self.dumped.load(Ordering::Acquire) || self.next.exists();
            match self.file.read(buffer)? {
                0 if complete => return Ok(0),
                0 => thread::sleep(PAUSE),
                length => return Ok(length),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_growing_file_is_read_to_its_end() {
        let folder = std::env::temp_dir().join(format!("stasis-pages-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut written = File::create(path(&folder, 1)).unwrap();
        let dumped = AtomicBool::new(false);
        let mut growing =
            Growing { file: File::open(path(&folder, 1)).unwrap(), next: path(&folder, 2), dumped: &dumped };
        let mut read = Vec::new();
        thread::scope(|scope| {
            let reader = scope.spawn(|| growing.read_to_end(&mut read));
            for _ in 0..50 {
                written.write_all(b"page").unwrap();
                thread::yield_now();
            }
            File::create(path(&folder, 2)).unwrap();
            reader.join().unwrap().unwrap();
        });
        assert_eq!(read, b"page".repeat(50));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
