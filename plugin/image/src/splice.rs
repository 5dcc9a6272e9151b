//! Putting a file of an image into a pipe without copying it: the reader at the other end is the first to copy.

use crate::reader::VerifiedReader;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, vmsplice};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write};

impl VerifiedReader {
    /// Puts all that is left into the pipe.
    ///
    /// A pipe holds so many bytes at most, and what comes after a chunk pushes it out. So a chunk's memory is used
    /// again when that much has followed it, and the last chunks, which nothing follows, are copied.
    ///
    /// # Errors
    /// When a chunk is refused (the error wraps the [`crate::Refusal`]), or the other end of the pipe is closed.
    pub fn pour_into(&mut self, mut pipe: &File) -> io::Result<()> {
        let capacity = fcntl(pipe, FcntlArg::F_GETPIPE_SZ)? as u64;
        let (mut lent, mut lent_bytes) = (VecDeque::<Vec<u8>>::new(), 0);
        loop {
            let chunk = self.next_chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            if self.left() < capacity {
                pipe.write_all(&chunk)?;
                continue;
            }
            lend(&chunk, pipe)?;
            lent_bytes += chunk.len() as u64;
            lent.push_back(chunk);
            while let Some(oldest) = lent.front().map(|oldest| oldest.len() as u64)
                && lent_bytes - oldest >= capacity
            {
                lent_bytes -= oldest;
                self.recycle(lent.pop_front().unwrap_or_default());
            }
        }
    }
}

fn lend(mut chunk: &[u8], pipe: &File) -> io::Result<()> {
    while !chunk.is_empty() {
        match vmsplice(pipe, &[IoSlice::new(chunk)], SpliceFFlags::empty()) {
            Ok(count) => chunk = &chunk[count..],
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
