//! The session's standard output and error on their way to the files that Slurm opened.
//!
//! The session writes into pipes, and this process copies what arrives to Slurm's files. So a session can leave
//! its node: CRIU refuses to restore an open file that others (slurmstepd) have appended to, but a pipe can be
//! given a new end. Nothing is lost or doubled: whatever was in a pipe when the session was frozen, this process
//! still copies, and CRIU does not restore the content of a pipe that is given a new end.

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread::{self, JoinHandle};

/// As large as a pipe's default capacity.
const BUFFER_BYTES: usize = 64 << 10;

/// A stream of the session: the pipe that it writes to.
#[derive(Debug)]
struct Stream {
    read_end: Option<File>,
    write_end: Option<OwnedFd>,
    inode: u64,
}

impl Stream {
    fn new() -> io::Result<Self> {
        let (read_end, write_end) = pipe2(OFlag::O_CLOEXEC)?;
        let read_end = File::from(read_end);
        let inode = read_end.metadata()?.ino();
        Ok(Self { read_end: Some(read_end), write_end: Some(write_end), inode })
    }
}

/// Both streams of a session. Standard error is a pipe of its own only where it goes to another file.
#[derive(Debug)]
pub struct Output {
    streams: Vec<Stream>,
    relays: Vec<JoinHandle<()>>,
    messages: Messages,
}

/// Where Stasis speaks to the user: the job's standard error, once it is known.
#[derive(Debug, Default)]
struct Messages {
    sink: Option<File>,
    waiting: Vec<String>,
}

impl Output {
    /// Pipes for a session whose streams are one (`shared`) or two.
    pub fn new(shared: bool) -> io::Result<Self> {
        let count = if shared { 1 } else { 2 };
        let streams = (0..count).map(|_| Stream::new()).collect::<io::Result<_>>()?;
        Ok(Self { streams, relays: Vec::new(), messages: Messages::default() })
    }

    /// Inodes of the pipes of standard output and error.
    pub fn inodes(&self) -> (u64, u64) {
        (self.streams[0].inode, self.streams.last().expect("at least one stream").inode)
    }

    /// The ends that the session writes to, for standard output and error. `None` once they were given away.
    pub fn write_ends(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let out = self.streams[0].write_end.as_ref()?;
        let err = self.streams.last()?.write_end.as_ref()?;
        Some((out.as_fd(), err.as_fd()))
    }

    /// Starts copying to Slurm's files. The session must have its ends of the pipes by now: this process's are
    /// closed, so that the pipes end with the session.
    pub fn relay_to(&mut self, out: OwnedFd, err: OwnedFd) {
        let mut sinks = vec![File::from(out)];
        let err = File::from(err);
        self.messages.attach(err.try_clone().ok());
        sinks.push(err);
        for (stream, sink) in self.streams.iter_mut().zip(sinks) {
            stream.write_end = None;
            if let Some(source) = stream.read_end.take() {
                self.relays.push(thread::spawn(move || copy(source, sink)));
            }
        }
    }

    /// Tells the user something. Kept until Slurm's files are known.
    pub fn say(&mut self, message: &str) {
        self.messages.say(message);
    }

    /// Waits until all that the session wrote is with Slurm. The session must have ended.
    pub fn finish(&mut self) {
        for stream in &mut self.streams {
            stream.write_end = None;
        }
        for relay in self.relays.drain(..) {
            let _ = relay.join();
        }
    }
}

impl Messages {
    fn attach(&mut self, sink: Option<File>) {
        self.sink = sink;
        for message in std::mem::take(&mut self.waiting) {
            self.say(&message);
        }
    }

    fn say(&mut self, message: &str) {
        match &mut self.sink {
            Some(sink) => drop(sink.write_all(format!("stasis: {message}\n").as_bytes())),
            None => self.waiting.push(message.to_owned()),
        }
    }
}

/// Copies until the session's end. When Slurm's file cannot be written (a full disk), the session must not stop
/// for it: plain Slurm would give it an error and let it go on, so what cannot be written is dropped.
fn copy(mut source: File, mut sink: File) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => drop(sink.write_all(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Whether two descriptors are of the same file.
pub fn same_file(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> bool {
    let facts = |fd| nix::sys::stat::fstat(fd).map(|facts| (facts.st_dev, facts.st_ino));
    matches!((facts(first), facts(second)), (Ok(first), Ok(second)) if first == second)
}
