//! The hand-over of a batch task from the SPANK hooks to the shepherd: the document, and the one-byte messages
//! with descriptors on the socket between the shepherd and the task that slurmstepd has prepared.
//!
//! 1. The hook forks. The parent becomes the shepherd and is given a [`Handover`]; the child, the task, waits.
//! 2. The shepherd orders the task to [`JOIN`] a fresh capsule (three descriptors come along: its pid, mount and
//!    network namespace), or to [`DELIVER`] when a session was restored instead.
//! 3. Once slurmstepd has set up the task's standard output and error, the task sends them with [`STDIO`]. A
//!    delivering task then ends. A joining one waits for [`PIPES`], which replace them, and goes on to exec the
//!    batch script.

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use stasis_contract::{JobSpec, SiteConfig};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// Everything that the shepherd learns from the hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Slurm's ClusterName.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// Slurm's job id.
    pub job_id: u32,
    /// How many nodes the job has.
    pub nodes: u32,
    /// Uid of the job's user.
    pub uid: u32,
    /// Primary gid of the job's user.
    pub gid: u32,
    /// Supplementary groups of the job's user.
    pub groups: Vec<u32>,
    /// The batch script in Slurm's spool folder.
    pub script: PathBuf,
    /// What the job asked for.
    pub spec: JobSpec,
    /// What the site decides.
    pub site: SiteConfig,
}

/// Order to the task: enter the capsule and run the batch script there.
pub const JOIN: u8 = b'J';
/// Order to the task: hand over standard output and error, and end.
pub const DELIVER: u8 = b'D';
/// From the task: its standard output and error come along.
pub const STDIO: u8 = b'O';
/// To the task: the pipes that replace them come along.
pub const PIPES: u8 = b'P';

/// The most descriptors in one message: three namespaces.
const FDS_MAX: usize = 3;

/// Sends one byte and some descriptors.
///
/// # Errors
/// When the other side is gone.
pub fn send(socket: BorrowedFd<'_>, byte: u8, fds: &[RawFd]) -> io::Result<()> {
    let control = [ControlMessage::ScmRights(fds)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[byte])], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Waits for one byte and the descriptors that come with it.
///
/// # Errors
/// When the other side is gone.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<(u8, Vec<OwnedFd>)> {
    let mut byte = [0];
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([RawFd; FDS_MAX]);
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut buffer, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just given these descriptors to this process alone.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((byte[0], fds))
}
