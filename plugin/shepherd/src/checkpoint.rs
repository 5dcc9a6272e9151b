//! One checkpoint: look, freeze, dump, pack, commit; and only then let go.

use crate::journal::now_unix_ms;
use crate::life::{Session, Shepherd};
use crate::pages::{self, PagePacker};
use stasis_capsule::criu::{Criu, CriuError, Dump};
use stasis_capsule::processes::{self, Refusal, SessionFacts};
use stasis_capsule::trees::TreeError;
use stasis_capsule::{CAPSULE_DIR, Identity, cpu, network, trees};
use stasis_contract::{Event, Origin, PrivateTree, SessionState, Step, Trigger};
use stasis_image::{CommittedImage, StageError, StagedImage, StoreError};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;

/// Why there is no new image. The session goes on in every case.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// There is no store to keep it in.
    #[error("{0}")]
    Unprotected(String),
    /// It would not be whole.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A step of the job runs outside the session.
    #[error(
        "step {job_id}.{step_id} ({name}) is running: a checkpoint saves the batch script alone; wait for the step, or end it"
    )]
    Step {
        /// The job.
        job_id: u32,
        /// The step.
        step_id: u32,
        /// Its name.
        name: String,
    },
    /// The node's disk refused.
    #[error("cannot use {path}: {source}")]
    Scratch {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// CRIU failed.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// The store refused.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A private folder could not be packed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A fault of Stasis itself.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl CheckpointError {
    /// Whether the session itself is in the way, rather than a part that failed.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Step { .. })
    }
}

/// Takes a checkpoint. With `leave_running` the session goes on afterwards, else its processes have ended.
pub fn take(
    shepherd: &Shepherd,
    session: &mut Session,
    trigger: Trigger,
    leave_running: bool,
) -> Result<CommittedImage, CheckpointError> {
    let store = shepherd.store.as_ref().map_err(|reason| CheckpointError::Unprotected(reason.clone()))?;
    refuse_steps(shepherd)?;
    session.complete_memory()?;
    let facts = processes::examine(&session.capsule, session.root_pid, shepherd.handover.uid)?;
    let number = store.job.next_number()?;
    shepherd.journal.write(&Event {
        image: Some(number),
        trigger: Some(trigger),
        ..shepherd.journal.event(Step::Trigger)
    });
    let images = shepherd.folders.fresh_images().map_err(scratch(&shepherd.folders.scratch))?;
    let criu = Criu { program: &shepherd.handover.site.criu, capsule: &session.capsule, images: &images };
    let dump = Dump {
        root_pid: session.root_pid,
        uid: shepherd.handover.uid,
        gid: shepherd.handover.gid,
        leave_running,
    };
    let staged = Arc::new(store.job.begin(number, &store.key)?);
    let pages = PagePacker::start(Arc::clone(&staged), images.clone(), shepherd.handover.spec.compression);
    if !leave_running {
        network::hang_up(&session.capsule);
    }
    let mut walk = Walk {
        shepherd,
        session,
        facts,
        images: &images,
        number,
        trigger,
        trees: Vec::new(),
        unfinished: Some((staged, pages)),
    };
    let result = walk.go(&criu, &dump);
    walk.abandon();
    let _ = fs::remove_dir_all(&images);
    let _ = store.job.retain(shepherd.handover.spec.keep);
    result
}

fn scratch(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Scratch { path, source }
}

fn refuse_steps(shepherd: &Shepherd) -> Result<(), CheckpointError> {
    let job_id = shepherd.handover.job_id;
    // A controller that does not answer is no reason to lose the session.
    let steps = shepherd.slurm.steps(job_id).unwrap_or_default();
    match steps.into_iter().next() {
        Some(step) => Err(CheckpointError::Step { job_id, step_id: step.id, name: step.name }),
        None => Ok(()),
    }
}

/// A checkpoint under way.
struct Walk<'a> {
    shepherd: &'a Shepherd,
    session: &'a Session,
    facts: SessionFacts,
    images: &'a Path,
    number: u32,
    trigger: Trigger,
    trees: Vec<PrivateTree>,
    unfinished: Option<(Arc<StagedImage>, PagePacker)>,
}

impl Walk<'_> {
    /// Dumps, packs what CRIU writes while it writes it, and commits: before the session's processes end, if they
    /// are to end, so that a failure costs nothing; after they run again, if they are to go on.
    fn go(&mut self, criu: &Criu<'_>, dump: &Dump) -> Result<CommittedImage, CheckpointError> {
        let mut outcome = None;
        let result = criu.dump(dump, &mut || {
            let frozen = self.while_frozen(dump.leave_running);
            let safe = frozen.is_ok();
            outcome = Some(frozen);
            safe
        });
        let committed = match outcome {
            Some(frozen) => frozen?,
            None => return Err(result.err().unwrap_or(CriuError::NotKept).into()),
        };
        // Committed, but CRIU failed to end the tasks: they go on, and the image is of the past.
        let report = result?;
        self.report(Step::Dump, report.dump_s, self.facts.resident_bytes);
        self.report(Step::Freeze, report.frozen_s, self.facts.resident_bytes);
        committed.map_or_else(|| self.pack_and_commit(), Ok)
    }

    fn while_frozen(&mut self, leave_running: bool) -> Result<Option<CommittedImage>, CheckpointError> {
        let (staged, _) = self.unfinished.as_ref().ok_or(CheckpointError::Internal("nothing is staged"))?;
        self.trees = self.pack_trees(staged)?;
        if leave_running { Ok(None) } else { self.pack_and_commit().map(Some) }
    }

    /// Everything that CRIU wrote, then the manifest.
    fn pack_and_commit(&mut self) -> Result<CommittedImage, CheckpointError> {
        let started = Instant::now();
        let (staged, pages) = self.unfinished.take().ok_or(CheckpointError::Internal("nothing is staged"))?;
        pages.finish()?;
        self.pack_criu_files(&staged)?;
        let pack_s = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let staged =
            Arc::into_inner(staged).ok_or(CheckpointError::Internal("the image is still being written"))?;
        let image = staged.commit(self.origin(), self.state())?;
        let stored_bytes = image.manifest().stored_bytes();
        self.report(Step::Pack, pack_s, stored_bytes);
        self.report(Step::Commit, started.elapsed().as_secs_f64(), stored_bytes);
        Ok(image)
    }

    /// Waits for the packing to stop and removes what was staged, if it was not committed.
    fn abandon(&mut self) {
        if let Some((staged, pages)) = self.unfinished.take() {
            let _ = pages.finish();
            drop(staged);
        }
    }

    fn pack_criu_files(&self, staged: &StagedImage) -> Result<(), CheckpointError> {
        for entry in fs::read_dir(self.images).map_err(scratch(self.images))? {
            let path = entry.map_err(scratch(self.images))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.extension().is_some_and(|extension| extension == "img") && !pages::is_pages(&name) {
                let file = File::open(&path).map_err(scratch(&path))?;
                staged.add(&name, self.shepherd.handover.spec.compression, file)?;
            }
        }
        Ok(())
    }

    fn pack_trees(&self, staged: &StagedImage) -> Result<Vec<PrivateTree>, CheckpointError> {
        let handover = &self.shepherd.handover;
        let user = Identity::User { uid: handover.uid, gid: handover.gid, groups: handover.groups.clone() };
        let own = PathBuf::from(CAPSULE_DIR);
        let mut packed = Vec::new();
        for (index, folder) in self.session.trees.iter().chain([&own]).enumerate() {
            let file = format!("tree-{index}.tar");
            let mut writer = staged.file(&file, handover.spec.compression)?;
            trees::pack(&self.session.capsule, &user, folder, &mut writer)?;
            writer.finish()?;
            packed.push(PrivateTree { mount_point: folder.clone(), file });
        }
        Ok(packed)
    }

    fn origin(&self) -> Origin {
        let handover = &self.shepherd.handover;
        Origin {
            cluster: handover.cluster.clone(),
            job_id: handover.job_id,
            uid: handover.uid,
            gid: handover.gid,
            image: self.number,
            restart_count: self.shepherd.restart_count,
            created_unix_ms: now_unix_ms(),
            node: handover.node.clone(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            cpu_features: cpu::features(),
            trigger: self.trigger,
        }
    }

    fn state(&self) -> SessionState {
        let (stdout_pipe, stderr_pipe) = self.session.output.inodes();
        SessionState {
            root_pid: self.session.root_pid,
            pids: self.facts.pids.clone(),
            stdout_pipe,
            stderr_pipe,
            ports: self.session.network.ports.iter().map(|map| map.inside).collect(),
            resident_bytes: self.facts.resident_bytes,
            trees: self.trees.clone(),
        }
    }

    fn report(&self, step: Step, seconds: f64, bytes: u64) {
        self.shepherd.journal.write(&Event {
            image: Some(self.number),
            trigger: Some(self.trigger),
            seconds: Some(seconds),
            bytes: Some(bytes),
            ..self.shepherd.journal.event(step)
        });
    }
}
