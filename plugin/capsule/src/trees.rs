//! Private folders as archives: packed and unpacked by tar, inside the capsule and as the session's user, so
//! that nothing in them can do more than the user could.

use crate::Capsule;
use crate::enter::{self, Identity};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use thiserror::Error;

/// Why a private folder could not be packed or unpacked.
#[derive(Debug, Error)]
pub enum TreeError {
    /// The archive could not be moved.
    #[error("{folder}: {source}")]
    Io {
        /// The folder.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
    /// tar failed.
    #[error("tar of {folder} failed ({status}): {message}")]
    Tar {
        /// The folder.
        folder: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
}

/// The folder itself belongs to the capsule; only what is in it is packed.
const PACK: &str = "cd \"$1\" && find . -mindepth 1 -maxdepth 1 -print0 | tar --create --sparse --one-file-system \
    --warning=no-file-ignored --null --verbatim-files-from --files-from=-";
const UNPACK: &str = "tar --directory \"$1\" --extract --preserve-permissions --delay-directory-restore";

/// Writes the folder's archive to `sink`. Returns its bytes.
///
/// # Errors
/// When tar fails or the sink cannot be written.
pub fn pack(
    capsule: &Capsule,
    user: &Identity,
    folder: &Path,
    sink: &mut dyn Write,
) -> Result<u64, TreeError> {
    let mut command = in_folder(capsule, user, folder, PACK);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(io_error(folder))?;
    let mut output = child.stdout.take().expect("stdout is piped");
    let copied = io::copy(&mut output, sink);
    drop(output);
    combine(copied, finish(child, folder), folder)
}

/// Fills the folder from the archive that `source` yields.
///
/// # Errors
/// When tar fails or the source cannot be read.
pub fn unpack(
    capsule: &Capsule,
    user: &Identity,
    folder: &Path,
    source: &mut dyn Read,
) -> Result<u64, TreeError> {
    let mut command = in_folder(capsule, user, folder, UNPACK);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(io_error(folder))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let copied = io::copy(source, &mut input);
    drop(input);
    combine(copied, finish(child, folder), folder)
}

/// What to say of an archive's move: tar complains of one that ends early, and dies of a pipe that nobody reads. The
/// other side's own failure is the cause then; a pipe that broke is the consequence of tar's.
fn combine(
    copied: io::Result<u64>,
    finished: Result<(), TreeError>,
    folder: &Path,
) -> Result<u64, TreeError> {
    match copied {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(io_error(folder)(source)),
        Ok(bytes) => finished.map(|()| bytes),
        Err(source) => finished.and_then(|()| Err(io_error(folder)(source))),
    }
}

/// A shell script in the folder `$1`.
fn in_folder(capsule: &Capsule, user: &Identity, folder: &Path, script: &str) -> Command {
    let folder = folder.display().to_string();
    let argv = ["sh", "-c", script, "sh", &folder];
    let mut command = enter::command(capsule.helper(), capsule.namespaces(), user, &argv, &[]);
    command.stderr(Stdio::piped());
    command
}

fn io_error(folder: &Path) -> impl FnOnce(io::Error) -> TreeError {
    let folder = folder.display().to_string();
    move |source| TreeError::Io { folder, source }
}

fn finish(mut child: Child, folder: &Path) -> Result<(), TreeError> {
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut message = String::new();
        let _ = stderr.map(|stderr| stderr.take(64 << 10).read_to_string(&mut message));
        message
    });
    let status = child.wait().map_err(io_error(folder))?;
    let message = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    Err(TreeError::Tar { folder: folder.display().to_string(), status, message: message.trim().to_owned() })
}
