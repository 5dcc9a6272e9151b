//! Starting a session from its script, in a fresh capsule.

use crate::life::{Session, Shepherd};
use crate::output::{Output, same_file};
use anyhow::{Context, bail};
use nix::unistd::Group;
use stasis_capsule::network::Network;
use stasis_capsule::{Capsule, CapsuleSpec, PrivateCopy, TreeSpec};
use stasis_contract::{Event, Step};
use stasis_handover::{DELIVER, Handover, JOIN, PIPES, STDIO, receive, send};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Pid of the session's root in a fresh capsule: after its init, and the process that brought it in.
const FIRST_PID: i32 = 3;
/// Sticky and open to all, as /tmp is everywhere.
const SHARED_MODE: u32 = 0o1777;

/// Makes a capsule and has the task run the batch script in it.
pub fn cold(shepherd: &Shepherd, task: &OwnedFd) -> anyhow::Result<Session> {
    let handover = &shepherd.handover;
    let capsule = Capsule::create(&CapsuleSpec {
        helper: helper(handover),
        reaper: handover.site.libexec.join("stasis-reaper"),
        trees: private_folders(handover),
        fresh: true,
        last_pid: None,
        tty_gid: tty_gid(),
    })?;
    let network = Network::join(&handover.site.pasta, &capsule, &shepherd.folder.path, &handover.spec.ports)?;
    let namespaces = capsule.namespaces().fds().map(|fd| fd.as_raw_fd());
    send(task.as_fd(), JOIN, &namespaces).context("cannot order the task into the capsule")?;
    let (out, err) = receive_stdio(task)?;
    let mut output = Output::new(same_file(out.as_fd(), err.as_fd()))?;
    let (out_end, err_end) = output.write_ends().context("the pipes are new")?;
    send(task.as_fd(), PIPES, &[out_end.as_raw_fd(), err_end.as_raw_fd()])
        .context("cannot hand over the pipes")?;
    output.relay_to(out, err);
    let trees = private_folders(handover).into_iter().map(|tree| tree.mount_point).collect();
    shepherd.journal.write(&Event { message: network.describe(), ..shepherd.journal.event(Step::Start) });
    Ok(Session { capsule, network, output, root_pid: FIRST_PID, trees, restored: false })
}

/// The standard streams of a task that is to end without having run the script.
pub fn streams_without_script(task: &OwnedFd) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    send(task.as_fd(), DELIVER, &[]).context("cannot order the task to hand over its streams")?;
    receive_stdio(task)
}

/// The standard streams that slurmstepd has set up for the task.
fn receive_stdio(task: &OwnedFd) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let (message, fds) = receive(task.as_fd()).context("the task ended before it ran the script")?;
    match <[OwnedFd; 2]>::try_from(fds) {
        Ok([out, err]) if message == STDIO => Ok((out, err)),
        _ => bail!("the task sent something else than its standard streams"),
    }
}

/// The program that works in capsules.
pub fn helper(handover: &Handover) -> PathBuf {
    handover.site.libexec.join("stasis-capsule")
}

/// Group of terminals, which programs expect them to have.
pub fn tty_gid() -> u32 {
    Group::from_name("tty").ok().flatten().map_or(0, |group| group.gid.as_raw())
}

/// What the session has for itself: /tmp, /dev/shm, and the folder with its script, which on the next node is
/// another one.
fn private_folders(handover: &Handover) -> Vec<TreeSpec> {
    let open =
        |path: &str| TreeSpec { mount_point: path.into(), mode: SHARED_MODE, uid: 0, gid: 0, copies: vec![] };
    let mut trees = vec![open("/tmp"), open("/dev/shm")];
    if let (Some(folder), Some(name)) =
        (handover.script.parent().filter(|path| *path != Path::new("/")), handover.script.file_name())
    {
        let copy = PrivateCopy {
            from: handover.script.clone(),
            name: name.to_string_lossy().into_owned(),
            uid: handover.uid,
            gid: handover.gid,
            mode: 0o700,
        };
        trees.push(TreeSpec {
            mount_point: folder.to_owned(),
            mode: 0o700,
            uid: handover.uid,
            gid: handover.gid,
            copies: vec![copy],
        });
    }
    trees
}
