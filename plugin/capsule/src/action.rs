//! CRIU's action scripts: the moments of a dump or a restore at which CRIU waits for somebody.
//!
//! CRIU runs the helper with the name of the moment in its environment. At `post-dump` everything is written and
//! the tasks are still frozen: the shepherd is asked over a socket whether they may be let go, and only its yes
//! lets CRIU end the tasks; a no, or a shepherd that is gone, lets them go on. At `post-restore` the tasks are
//! back but do not run yet: connections to the outside are destroyed.

use crate::sock_diag;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const CRIU_ACTION: &str = "CRTOOLS_SCRIPT_ACTION";
/// Environment variable with the path of the shepherd's socket.
pub(crate) const SOCKET: &str = "STASIS_ACTION_SOCKET";
const YES: u8 = b'y';
const NO: u8 = b'n';

/// CRIU's side: does what the moment asks for.
pub(crate) fn run_if_called_by_criu() -> Option<ExitCode> {
    let action = std::env::var(CRIU_ACTION).ok()?;
    let result = match action.as_str() {
        "post-dump" => ask(),
        "post-restore" => sock_diag::destroy_outside_connections().map(|_| true),
        _ => Ok(true),
    };
    match result {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => Some(ExitCode::from(1)),
        Err(error) => {
            eprintln!("{action}: {error}");
            // A connection that could not be destroyed dies later by itself: no reason to lose the session.
            Some(if action == "post-restore" { ExitCode::SUCCESS } else { ExitCode::from(2) })
        }
    }
}

fn ask() -> io::Result<bool> {
    let path = std::env::var_os(SOCKET).ok_or_else(|| io::Error::other("no socket to ask at"))?;
    let mut stream = UnixStream::connect(path)?;
    let mut answer = [NO];
    stream.read_exact(&mut answer)?;
    Ok(answer == [YES])
}

/// The shepherd's side: where the question whether the tasks may be let go arrives.
#[derive(Debug)]
pub(crate) struct Question {
    listener: UnixListener,
    path: PathBuf,
}

impl Question {
    /// Listens in a folder that only root can enter.
    pub fn listen(folder: &Path) -> io::Result<Self> {
        let path = folder.join("action.sock");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        Ok(Self { listener, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Answers the question that has arrived with what `decide` returns.
    pub fn answer(&self, decide: impl FnOnce() -> bool) -> io::Result<()> {
        let (mut stream, _) = self.listener.accept()?;
        let answer = if decide() { YES } else { NO };
        stream.write_all(&[answer])
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
