//! The other end of CRIU's `--stream`: image files that go through pipes and never lie on the node's disk.
//!
//! CRIU connects to a socket in its images folder and, for each file, sends the file's name and then one end of a
//! pipe: the reading end at a dump; at a restore the writing end, once it was told that there is such a file. A
//! message is four bytes of length and a protobuf message with one field (CRIU's criu/img-streamer.c,
//! images/img-streamer.proto).

use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The sockets that CRIU looks for.
const DUMP_SOCKET: &str = "streamer-capture.sock";
const RESTORE_SOCKET: &str = "streamer-serve.sock";

/// Longer than any name of CRIU's.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Field 1, with bytes: img_streamer_request_entry.filename.
const NAME_TAG: u8 = 1 << 3 | 2;
/// Field 1, with a number: img_streamer_reply_entry.exists.
const EXISTS_TAG: u8 = 1 << 3;

/// What a wide pipe holds: the most that a process may ask for unless the node is set up otherwise (pipe(7),
/// `pipe-max-size`).
const WIDE_BYTES: i32 = 1 << 20;

/// What fills one pipe, at a restore.
pub enum Feed {
    /// This, at once: no more than [`FEED_NOW_BYTES`].
    Now(Vec<u8>),
    /// Something that takes its time, and gets a thread.
    Later(Box<dyn FnOnce(File) + Send>),
}

/// What a new pipe takes without anybody reading, with pages of 4 KiB and as many of them as pipes always get (pipe(7)).
pub const FEED_NOW_BYTES: usize = 4096;

/// Lets a pipe hold more, so that neither end waits for the other too often.
pub fn widen(pipe: &File) {
    // Only faster: a smaller pipe does as well.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(WIDE_BYTES));
}

/// A socket at which CRIU asks for pipes.
#[derive(Debug)]
pub(crate) struct Stream {
    listener: UnixListener,
    criu: Option<UnixStream>,
    over: bool,
}

impl Stream {
    /// Waits for a dump that has this images folder.
    pub fn of_dump(images: &Path) -> io::Result<Self> {
        Self::listen(&images.join(DUMP_SOCKET))
    }

    /// Waits for a restore that has this images folder.
    pub fn of_restore(images: &Path) -> io::Result<Self> {
        Self::listen(&images.join(RESTORE_SOCKET))
    }

    fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(path)?, criu: None, over: false })
    }

    /// What becomes readable when CRIU wants something, as long as it may.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.criu.as_ref().map_or(self.listener.as_fd(), AsFd::as_fd);
        (!self.over).then_some(fd)
    }

    /// Takes what has arrived: at a dump, perhaps a file's name and its content.
    pub fn take(&mut self) -> io::Result<Option<(String, File)>> {
        let Some(name) = self.next_name()? else { return Ok(None) };
        Ok(Some((name, self.receive_pipe()?)))
    }

    /// Takes what has arrived: at a restore, perhaps a file's name, for which `find` may have the content.
    pub fn serve(&mut self, find: &mut dyn FnMut(&str) -> Option<Feed>) -> io::Result<()> {
        let Some(name) = self.next_name()? else { return Ok(()) };
        let feed = find(&name);
        let reply = [EXISTS_TAG, feed.is_some().into()];
        self.criu()?.write_all(&[&(reply.len() as u32).to_le_bytes()[..], &reply].concat())?;
        match feed {
            Some(Feed::Now(content)) => match self.receive_pipe()?.write_all(&content) {
                // CRIU has closed it again: its log says why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written?,
            },
            Some(Feed::Later(feed)) => {
                let pipe = self.receive_pipe()?;
                std::thread::Builder::new().name("stasis-feed".into()).spawn(move || feed(pipe))?;
            }
            None => {}
        }
        Ok(())
    }

    fn criu(&self) -> io::Result<&UnixStream> {
        self.criu.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Lets CRIU in if it knocks, else reads a name. `None` also when CRIU has left.
    fn next_name(&mut self) -> io::Result<Option<String>> {
        let Some(mut criu) = self.criu.as_ref() else {
            self.criu = Some(self.listener.accept()?.0);
            return Ok(None);
        };
        let mut length = [0; 4];
        if criu.read(&mut length[..1])? == 0 {
            self.over = true;
            return Ok(None);
        }
        criu.read_exact(&mut length[1..])?;
        let length = u32::from_le_bytes(length) as usize;
        let mut message = vec![0; length.min(MESSAGE_BYTES_MAX)];
        criu.read_exact(&mut message)?;
        let name = if length <= MESSAGE_BYTES_MAX { name_in(&message) } else { None };
        name.map(Some).ok_or_else(|| io::Error::other("CRIU's request for a file is malformed"))
    }

    /// The pipe comes with one byte, as the hand-over's descriptors do.
    fn receive_pipe(&self) -> io::Result<File> {
        let (_, fds) = stasis_handover::receive(self.criu()?.as_fd())?;
        let pipe = fds.into_iter().next();
        pipe.map(File::from).ok_or_else(|| io::Error::other("CRIU sent no pipe for a file"))
    }
}

/// The name in an img_streamer_request_entry.
fn name_in(message: &[u8]) -> Option<String> {
    let (&tag, rest) = message.split_first()?;
    // A length of up to 127 is one byte; CRIU's names are much shorter.
    let (&length, name) = rest.split_first()?;
    let valid = tag == NAME_TAG && usize::from(length) == name.len() && length < 0x80;
    valid.then(|| String::from_utf8(name.to_vec()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, OwnedFd};

    /// CRIU's side of the socket.
    struct Criu(UnixStream);

    impl Criu {
        fn connect(stream: &mut Stream, socket: &Path) -> Self {
            let criu = Self(UnixStream::connect(socket).unwrap());
            assert!(stream.take().unwrap().is_none(), "it was only let in");
            criu
        }

        fn ask(&mut self, name: &str) {
            let message = [&[NAME_TAG, name.len() as u8][..], name.as_bytes()].concat();
            self.0.write_all(&(message.len() as u32).to_le_bytes()).unwrap();
            self.0.write_all(&message).unwrap();
        }

        fn send(&self, pipe: impl Into<OwnedFd>) {
            stasis_handover::send(self.0.as_fd(), b'x', &[pipe.into().as_raw_fd()]).unwrap();
        }
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("stasis-stream-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_dump_hands_over_names_and_pipes_until_it_leaves() {
        let folder = folder("dump");
        let mut stream = Stream::of_dump(&folder).unwrap();
        let mut criu = Criu::connect(&mut stream, &folder.join(DUMP_SOCKET));
        for name in ["core-1.img", "pages-1.img"] {
            let (reading, mut writing) = io::pipe().unwrap();
            criu.ask(name);
            criu.send(reading);
            writing.write_all(name.as_bytes()).unwrap();
            drop(writing);
            let (taken, mut pipe) = stream.take().unwrap().unwrap();
            let mut content = String::new();
            pipe.read_to_string(&mut content).unwrap();
            assert_eq!([taken, content], [name, name]);
        }
        drop(criu);
        assert!(stream.fd().is_some());
        assert!(stream.take().unwrap().is_none());
        assert!(stream.fd().is_none(), "there is nothing to wait for any more");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_restore_is_fed_what_there_is_and_told_what_there_is_not() {
        let folder = folder("restore");
        let mut stream = Stream::of_restore(&folder).unwrap();
        let mut criu = Criu::connect(&mut stream, &folder.join(RESTORE_SOCKET));
        let mut find = |name: &str| -> Option<Feed> {
            match name {
                "files.img" => Some(Feed::Now(b"content".to_vec())),
                "pages-1.img" => Some(Feed::Later(Box::new(|mut pipe| pipe.write_all(b"content").unwrap()))),
                _ => None,
            }
        };
        let mut reply = [0; 6];
        for name in ["files.img", "pages-1.img"] {
            let (mut reading, writing) = io::pipe().unwrap();
            criu.ask(name);
            // In one thread, so the pipe is sent before it is asked for; a socket keeps the order.
            criu.send(writing);
            stream.serve(&mut find).unwrap();
            criu.0.read_exact(&mut reply).unwrap();
            assert_eq!(reply, [2, 0, 0, 0, EXISTS_TAG, 1]);
            let mut content = String::new();
            reading.read_to_string(&mut content).unwrap();
            assert_eq!(content, "content");
        }
        criu.ask("apparmor.img");
        stream.serve(&mut find).unwrap();
        criu.0.read_exact(&mut reply).unwrap();
        assert_eq!(reply, [2, 0, 0, 0, EXISTS_TAG, 0]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_no_request_is_refused_and_never_panics() {
        let request = [&[NAME_TAG, 9][..], b"files.img"].concat();
        assert_eq!(name_in(&request).as_deref(), Some("files.img"));
        for length in 0..request.len() {
            assert_eq!(name_in(&request[..length]), None, "{length} bytes");
        }
        for bad in [&[NAME_TAG, 1, 0xff][..], &[EXISTS_TAG, 1], &[NAME_TAG, 1, b'a', b'b']] {
            assert_eq!(name_in(bad), None, "{bad:?}");
        }
    }
}
