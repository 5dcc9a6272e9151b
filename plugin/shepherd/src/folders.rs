//! A session's private folders: packed while it is frozen, filled before it is restored.

use crate::checkpoint::CheckpointError;
use crate::life::{Session, Shepherd};
use anyhow::Context;
use nix::unistd::{Gid, Uid, chown};
use stasis_capsule::trees::{self, Contents};
use stasis_capsule::{CAPSULE_DIR, Capsule, Identity, TreeSpec};
use stasis_contract::PrivateTree;
use stasis_handover::Handover;
use stasis_image::{StagedImage, VerifiedManifest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};

/// The folders on their way into an image, all at once.
pub struct Packing<'scope> {
    threads: Vec<ScopedJoinHandle<'scope, Result<PrivateTree, CheckpointError>>>,
}

impl<'scope> Packing<'scope> {
    /// Begins. The session must be frozen by now.
    pub fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        shepherd: &'env Shepherd,
        session: &'env Session,
        staged: &Arc<StagedImage>,
    ) -> Self {
        let folders = session.trees.iter().cloned().chain([PathBuf::from(CAPSULE_DIR)]);
        let begin = |(index, folder): (usize, PathBuf)| {
            let staged = Arc::clone(staged);
            scope.spawn(move || pack(shepherd, &session.capsule, &staged, index, folder))
        };
        Self { threads: folders.enumerate().map(begin).collect() }
    }

    /// Waits until all are packed.
    pub fn finish(self) -> Result<Vec<PrivateTree>, CheckpointError> {
        let panicked = |_| Err(CheckpointError::Internal("packing a folder panicked"));
        // Each is waited for, whatever became of the others.
        let results: Vec<_> =
            self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect();
        results.into_iter().collect()
    }
}

fn pack(
    shepherd: &Shepherd,
    capsule: &Capsule,
    staged: &StagedImage,
    index: usize,
    mount_point: PathBuf,
) -> Result<PrivateTree, CheckpointError> {
    let contents = Contents::of(capsule, &mount_point)?;
    if contents.is_empty() {
        return Ok(PrivateTree { mount_point, file: None });
    }
    let file = format!("tree-{index}.tar");
    let mut writer = staged.file(&file, shepherd.handover.spec.compression)?;
    trees::pack(capsule, &user(&shepherd.handover), &mount_point, &contents, &mut writer)?;
    writer.finish()?;
    Ok(PrivateTree { mount_point, file: Some(file) })
}

/// A folder that is still to be filled. The one that the script was in belongs to the user; the others are open to all.
pub fn empty(handover: &Handover, path: &Path) -> TreeSpec {
    let open = path == Path::new("/tmp") || path == Path::new("/dev/shm");
    let (mode, uid, gid) = if open { (0o1777, 0, 0) } else { (0o700, handover.uid, handover.gid) };
    TreeSpec { mount_point: path.to_owned(), mode, uid, gid, copies: Vec::new() }
}

/// Fills them all, at once.
pub fn fill(handover: &Handover, capsule: &Capsule, verified: &VerifiedManifest) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let trees = &verified.manifest().session.trees;
        let fill = |tree| move || unpack(handover, capsule, verified, tree);
        let filling: Vec<_> = trees.iter().map(|tree| scope.spawn(fill(tree))).collect();
        let panicked = |_| Err(anyhow::anyhow!("filling a private folder panicked"));
        filling.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
    })
}

fn unpack(
    handover: &Handover,
    capsule: &Capsule,
    verified: &VerifiedManifest,
    tree: &PrivateTree,
) -> anyhow::Result<()> {
    let Some(file) = &tree.file else { return Ok(()) };
    if tree.mount_point == Path::new(CAPSULE_DIR) {
        open_to_user(capsule, handover)?;
    }
    trees::unpack(capsule, &user(handover), &tree.mount_point, &mut verified.reader(file)?)?;
    Ok(())
}

/// The reaper's folder is root's, but archives are unpacked as the user.
fn open_to_user(capsule: &Capsule, handover: &Handover) -> anyhow::Result<()> {
    let path = capsule.seen_from_node(Path::new(CAPSULE_DIR));
    let (uid, gid) = (Uid::from_raw(handover.uid), Gid::from_raw(handover.gid));
    chown(&path, Some(uid), Some(gid)).with_context(|| path.display().to_string())
}

fn user(handover: &Handover) -> Identity {
    Identity::User { uid: handover.uid, gid: handover.gid, groups: handover.groups.clone() }
}
