//! Private folders as archives: packed and unpacked by tar, inside the capsule and as the session's user, so
//! that nothing in them can do more than the user could.

use crate::Capsule;
use crate::enter::{self, Identity};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
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

const PACK: [&str; 7] = [
    "--create",
    "--sparse",
    "--one-file-system",
    "--warning=no-file-ignored",
    "--null",
    "--verbatim-files-from",
    "--files-from=-",
];
const UNPACK: [&str; 3] = ["--extract", "--preserve-permissions", "--delay-directory-restore"];

/// What lies in a private folder.
#[derive(Debug)]
pub struct Contents {
    /// The names, each with a NUL after it.
    names: Vec<u8>,
}

impl Contents {
    /// Looks into the folder, without going deeper.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(capsule: &Capsule, folder: &Path) -> Result<Self, TreeError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(capsule.seen_from_node(folder)).map_err(io_error(folder))? {
            names.extend(entry.map_err(io_error(folder))?.file_name().as_bytes());
            names.push(0);
        }
        Ok(Self { names })
    }

    /// Whether there is nothing to pack.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A file with the names, at its beginning.
    fn list(&self) -> io::Result<File> {
        let mut list = File::from(memfd_create(c"stasis-names", MFdFlags::MFD_CLOEXEC)?);
        list.write_all(&self.names)?;
        list.rewind()?;
        Ok(list)
    }
}

/// Writes the folder's archive to `sink`. Returns its bytes. The folder itself belongs to the capsule; only what is in
/// it is packed.
///
/// # Errors
/// When tar fails or the sink cannot be written.
pub fn pack(
    capsule: &Capsule,
    user: &Identity,
    folder: &Path,
    contents: &Contents,
    sink: &mut dyn Write,
) -> Result<u64, TreeError> {
    let names = contents.list().map_err(io_error(folder))?;
    let mut command = tar(capsule, user, folder, &PACK);
    let mut child = command.stdin(names).stdout(Stdio::piped()).spawn().map_err(io_error(folder))?;
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
    let mut command = tar(capsule, user, folder, &UNPACK);
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

/// tar in the folder.
fn tar(capsule: &Capsule, user: &Identity, folder: &Path, options: &[&str]) -> Command {
    let folder = folder.display().to_string();
    let argv: Vec<&str> =
        ["tar", "--directory", &folder].into_iter().chain(options.iter().copied()).collect();
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
