//! Bringing a session back from its images: the newest that can be trusted, else an older one, else not at all.

use crate::feed::Feeder;
use crate::life::{Session, Shepherd};
use crate::output::Output;
use crate::start::{helper, tty_gid};
use crate::{folders, gate};
use anyhow::Context;
use stasis_capsule::criu::{Criu, InheritedPipe, holds_memory};
use stasis_capsule::network::Network;
use stasis_capsule::{CAPSULE_DIR, Capsule, CapsuleSpec, cpu};
use stasis_contract::{Event, Manifest, Step};
use stasis_image::{Candidate, Expected, Refusal, VerifiedManifest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Pids that CRIU and its helpers may take during a restore.
const SPARE_PIDS: i32 = 1000;
/// Where the spare pids start, unless the session has one of them.
const SPARE_FROM: [i32; 3] = [30_000, 20_000, 10_000];

/// How often a node may fail to restore a sound image before the next older one is tried: a fault of one node is no
/// reason to lose a session, and a fault of the image itself must not keep the job in the queue for ever.
const NODES_MAX: usize = 2;

/// What came of the attempt to bring the session back.
pub enum Outcome {
    /// It is back.
    Restored(Box<Session>),
    /// The image is sound, but this node cannot restore it: another one should.
    Elsewhere,
    /// There is no image that could be used.
    Nothing,
}

/// The outcome, and what the user should know: which images were refused and why.
pub struct Attempt {
    /// What came of it.
    pub outcome: Outcome,
    /// In words.
    pub messages: Vec<String>,
}

/// Whose fault it is that an image was not restored.
enum Trouble {
    Image(anyhow::Error),
    Node(anyhow::Error),
}

/// What fails is the node's fault, unless the image was refused while it was read.
impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error = error.into();
        let refused = |cause: &(dyn std::error::Error + 'static)| {
            let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause.is::<Refusal>() || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Refusal>)
        };
        if error.chain().any(refused) { Self::Image(error) } else { Self::Node(error) }
    }
}

/// Tries the job's images, the newest first.
pub fn newest_first(shepherd: &Shepherd) -> Attempt {
    let mut messages = Vec::new();
    let images = shepherd
        .store
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|store| store.job.images().map_err(|error| error.to_string()));
    let images = images.unwrap_or_else(|reason| {
        messages.push(format!("the images cannot be read: {reason}"));
        Vec::new()
    });
    for image in images {
        let number = image.number();
        let (error, node_is_at_fault) = match one(shepherd, &image) {
            Ok(session) => return Attempt { outcome: Outcome::Restored(Box::new(session)), messages },
            Err(Trouble::Image(error)) => (error, false),
            Err(Trouble::Node(error)) => (error, true),
        };
        let message = format!("image {number} cannot be restored on {}: {error:#}", shepherd.handover.node);
        let earlier = failures_elsewhere(shepherd, number);
        shepherd.journal.write(&Event {
            image: Some(number),
            message: Some(message.clone()),
            ..shepherd.journal.event(Step::Failure)
        });
        messages.push(message);
        if node_is_at_fault && earlier + 1 < NODES_MAX {
            return Attempt { outcome: Outcome::Elsewhere, messages };
        }
    }
    Attempt { outcome: Outcome::Nothing, messages }
}

/// How many runs of the job have failed to restore this image before. The log is the user's, who can at worst keep
/// the own job from trying.
fn failures_elsewhere(shepherd: &Shepherd, image: u32) -> usize {
    let log = shepherd.store.as_ref().ok().and_then(|store| store.job.events().ok()).unwrap_or_default();
    log.events.iter().filter(|event| event.step == Step::Failure && event.image == Some(image)).count()
}

fn one(shepherd: &Shepherd, candidate: &Candidate) -> Result<Session, Trouble> {
    let image = Some(candidate.number());
    let started = Instant::now();
    let verified = Arc::new(verify(shepherd, candidate).map_err(Trouble::Image)?);
    check_cpu(verified.manifest())?;
    shepherd.journal.write(&Event {
        image,
        seconds: Some(started.elapsed().as_secs_f64()),
        ..shepherd.journal.event(Step::Verify)
    });
    let started = Instant::now();
    let session = revive(shepherd, &verified)?;
    shepherd.journal.write(&Event {
        image,
        bytes: Some(verified.manifest().content_bytes()),
        seconds: Some(started.elapsed().as_secs_f64()),
        ..shepherd.journal.event(Step::Restore)
    });
    Ok(session)
}

/// Checks that the image is the job's own and of this site, and what each of its chunks must be. The chunks
/// themselves are checked as they are read.
fn verify(shepherd: &Shepherd, candidate: &Candidate) -> anyhow::Result<VerifiedManifest> {
    let store = shepherd.store.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))?;
    let handover = &shepherd.handover;
    let expected = Expected {
        cluster: handover.cluster.clone(),
        job_id: handover.job_id,
        uid: handover.uid,
        gid: Some(handover.gid),
        restart_count: shepherd.restart_count,
    };
    Ok(candidate.open(&store.key, &expected)?)
}

fn check_cpu(manifest: &Manifest) -> anyhow::Result<()> {
    let missing = cpu::missing(&manifest.origin.cpu_features, &cpu::features());
    anyhow::ensure!(
        missing.is_empty(),
        "this node's CPU lacks {}, which the session may be using",
        missing.join(", ")
    );
    Ok(())
}

/// Makes a capsule and has CRIU fill it. CRIU is started first of all, and what it needs is made ready meanwhile: it is
/// given no file before the private folders are filled, and no memory before the network is there.
fn revive(shepherd: &Shepherd, verified: &Arc<VerifiedManifest>) -> Result<Session, Trouble> {
    let handover = &shepherd.handover;
    let state = &verified.manifest().session;
    let private: Vec<PathBuf> = state.trees.iter().map(|tree| tree.mount_point.clone()).collect();
    let others = || private.iter().filter(|path| *path != Path::new(CAPSULE_DIR));
    let capsule = Capsule::create(&CapsuleSpec {
        helper: helper(handover),
        reaper: handover.site.libexec.join("stasis-reaper"),
        trees: others().map(|path| folders::empty(handover, path)).collect(),
        fresh: false,
        last_pid: Some(spare_pids(&state.pids)),
        tty_gid: tty_gid(),
    })?;
    let output = Output::new(state.stdout_pipe == state.stderr_pipe)?;
    let (out, err) = output.write_ends().context("the pipes are new")?;
    let mut pipes = vec![InheritedPipe { fd: out, inode: state.stdout_pipe }];
    if state.stderr_pipe != state.stdout_pipe {
        pipes.push(InheritedPipe { fd: err, inode: state.stderr_pipe });
    }
    let folder = shepherd.folder.fresh_criu().context("no place for CRIU's log")?;
    let criu = Criu { program: &handover.site.criu, capsule: &capsule, folder: &folder };
    let feeder = Feeder::new(verified)?;
    let (mut folders_filled, filled) = gate::new();
    let (mut network_joined, joined) = gate::new();
    let (network, filled, restored) = thread::scope(|scope| {
        let filling = scope.spawn(|| filled.open_if(folders::fill(handover, &capsule, verified)));
        let restoring = scope.spawn(|| {
            criu.restore(&pipes, &mut |name| {
                let ready = folders_filled.is_open() && (!holds_memory(name) || network_joined.is_open());
                ready.then(|| feeder.feed(name)).flatten()
            })
        });
        // Not in a thread: pasta ends with the one that has started it.
        let network = joined.open_if(Network::join(
            &handover.site.pasta,
            &capsule,
            &shepherd.folder.path,
            &state.ports,
        ));
        (network, filling.join(), restoring.join())
    });
    // What CRIU was not given is why it failed, if it did.
    filled.unwrap_or_else(|_| Err(anyhow::anyhow!("filling the private folders panicked")))?;
    let network = network?;
    feeder.finish()?;
    restored.map_err(|_| anyhow::anyhow!("feeding CRIU panicked"))??;
    let trees = others().cloned().collect();
    Ok(Session { capsule, network, output, root_pid: state.root_pid, trees, restored: true })
}

/// A pid above which nothing of the session lives for a while.
fn spare_pids(pids: &[i32]) -> i32 {
    let free = |from: &i32| !pids.iter().any(|pid| (*from..*from + SPARE_PIDS).contains(pid));
    SPARE_FROM
        .into_iter()
        .find(free)
        .unwrap_or_else(|| pids.iter().max().map_or(SPARE_FROM[0], |max| max + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_capsule::trees::TreeError;

    #[test]
    fn a_refusal_is_blamed_on_the_image_however_deep_it_lies() {
        let torn = || std::io::Error::other(Refusal::Torn);
        let tree = TreeError::Io { folder: "/tmp".into(), source: torn() };
        assert!(matches!(Trouble::from(tree), Trouble::Image(_)));
        assert!(matches!(Trouble::from(Refusal::Torn), Trouble::Image(_)));
        let full = TreeError::Io { folder: "/tmp".into(), source: std::io::ErrorKind::StorageFull.into() };
        assert!(matches!(Trouble::from(full), Trouble::Node(_)));
    }

    #[test]
    fn spare_pids_avoid_those_of_the_session() {
        assert_eq!(spare_pids(&[2, 3, 400]), 30_000);
        assert_eq!(spare_pids(&[2, 30_010]), 20_000);
        assert_eq!(spare_pids(&[10_001, 20_001, 30_001]), 30_002);
    }
}
