//! One checkpoint: look, freeze, dump, pack, commit; and only then let go.

use crate::folders::Packing;
use crate::journal::now_unix_ms;
use crate::life::{Session, Shepherd};
use crate::pack::Packer;
use stasis_capsule::criu::{Criu, CriuError, Dump, DumpSide, holds_memory};
use stasis_capsule::processes::{self, Refusal, SessionFacts};
use stasis_capsule::trees::TreeError;
use stasis_capsule::{cpu, network};
use stasis_contract::{Event, Origin, PrivateTree, SessionState, Step, Trigger};
use stasis_image::{CommittedImage, StageError, StagedImage, StoreError};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::thread::{self, Scope};
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
    /// The node refused.
    #[error("cannot use {path}: {source}")]
    Folder {
        /// The folder.
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
    /// The node has no room for another thread.
    #[error("cannot start a thread: {0}")]
    Threads(io::Error),
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
    session: &Session,
    trigger: Trigger,
    leave_running: bool,
) -> Result<CommittedImage, CheckpointError> {
    let store = shepherd.store.as_ref().map_err(|reason| CheckpointError::Unprotected(reason.clone()))?;
    refuse_steps(shepherd)?;
    let facts = processes::examine(&session.capsule, session.root_pid, shepherd.handover.uid)?;
    let number = store.job.next_number()?;
    shepherd.journal.write(&Event {
        image: Some(number),
        trigger: Some(trigger),
        ..shepherd.journal.event(Step::Trigger)
    });
    let folder = shepherd
        .folder
        .fresh_criu()
        .map_err(|source| CheckpointError::Folder { path: shepherd.folder.path.clone(), source })?;
    let criu = Criu { program: &shepherd.handover.site.criu, capsule: &session.capsule, folder: &folder };
    let dump = Dump {
        root_pid: session.root_pid,
        uid: shepherd.handover.uid,
        gid: shepherd.handover.gid,
        leave_running,
    };
    let staged = store.job.begin(number, &store.key)?;
    if !leave_running {
        network::hang_up(&session.capsule);
    }
    let packer = Some(Packer::new(staged, shepherd.handover.spec.compression));
    let result = thread::scope(|scope| {
        let mut walk = Walk {
            scope,
            shepherd,
            session,
            facts,
            number,
            trigger,
            leave_running,
            packer,
            packing: None,
            trees: Vec::new(),
            dumped: Instant::now(),
            outcome: None,
        };
        walk.go(&criu, &dump)
    });
    let _ = fs::remove_dir_all(&folder);
    let _ = store.job.retain(shepherd.handover.spec.keep);
    result
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
struct Walk<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    shepherd: &'env Shepherd,
    session: &'env Session,
    facts: SessionFacts,
    number: u32,
    trigger: Trigger,
    leave_running: bool,
    /// Until the image is committed.
    packer: Option<Packer>,
    /// Once the session is frozen.
    packing: Option<Packing<'scope>>,
    trees: Vec<PrivateTree>,
    /// When CRIU had dumped everything.
    dumped: Instant,
    /// What came of the frozen moment, once it came.
    outcome: Option<Result<Frozen, CheckpointError>>,
}

/// What is done while the tasks are frozen and all is dumped.
enum Frozen {
    /// Everything is read: the rest of the image is written, and committed, when the tasks run again.
    Read(Box<Packer>),
    /// The image is safe: the tasks may end.
    Committed(Box<CommittedImage>),
}

impl DumpSide for Walk<'_, '_> {
    fn file(&mut self, name: String, pipe: File) {
        let Some(packer) = &mut self.packer else { return };
        if holds_memory(&name) && self.packing.is_none() {
            self.packing = Some(Packing::begin(self.scope, self.shepherd, self.session, packer.staged()));
        }
        packer.file(name, pipe);
    }

    fn may_let_go(&mut self) -> bool {
        let frozen = self.while_frozen();
        let done = frozen.is_ok();
        self.outcome = Some(frozen);
        done
    }
}

impl Walk<'_, '_> {
    /// Dumps, packs what CRIU writes while it writes it, and commits: before the session's processes end, if they
    /// are to end, so that a failure costs nothing; after they run again, if they are to go on.
    fn go(&mut self, criu: &Criu<'_>, dump: &Dump) -> Result<CommittedImage, CheckpointError> {
        let result = criu.dump(dump, self);
        let Some(outcome) = self.outcome.take() else {
            let _ = self.packing.take().map(Packing::finish);
            // CRIU fails when its files are not taken; then that is the reason.
            self.packer.take().map_or(Ok(()), |mut packer| packer.wait())?;
            return Err(result.err().unwrap_or(CriuError::NotKept).into());
        };
        let frozen = outcome?;
        // Committed, but CRIU failed to end the tasks: they go on, and the image is of the past.
        let report = result?;
        self.report(Step::Dump, report.dump_s, self.facts.resident_bytes);
        self.report(Step::Freeze, report.frozen_s, self.facts.resident_bytes);
        match frozen {
            Frozen::Committed(image) => Ok(*image),
            Frozen::Read(packer) => self.commit(packer.finish()?),
        }
    }

    fn while_frozen(&mut self) -> Result<Frozen, CheckpointError> {
        self.dumped = Instant::now();
        let mut packer = self.packer.take().ok_or(CheckpointError::Internal("nothing is staged"))?;
        self.trees = self.folders(&mut packer)?;
        if self.leave_running {
            return Ok(Frozen::Read(Box::new(packer)));
        }
        self.commit(packer.finish()?).map(Box::new).map(Frozen::Committed)
    }

    fn commit(&self, staged: StagedImage) -> Result<CommittedImage, CheckpointError> {
        let (pack_s, started) = (self.dumped.elapsed().as_secs_f64(), Instant::now());
        let image = staged.commit(self.origin(), self.state())?;
        let stored_bytes = image.manifest().stored_bytes();
        self.report(Step::Pack, pack_s, stored_bytes);
        self.report(Step::Commit, started.elapsed().as_secs_f64(), stored_bytes);
        Ok(image)
    }

    /// The private folders: usually they are packed by now. Only where CRIU has made names for deleted files that are
    /// still open, perhaps in one of these very folders, they are packed again.
    fn folders(&mut self, packer: &mut Packer) -> Result<Vec<PrivateTree>, CheckpointError> {
        let early = self.packing.take().map(Packing::finish).transpose();
        packer.wait_read();
        if let Some(folders) = early? {
            if !packer.has_links() {
                return Ok(folders);
            }
            for file in folders.iter().filter_map(|folder| folder.file.as_ref()) {
                packer.staged().discard(file)?;
            }
        }
        Packing::begin(self.scope, self.shepherd, self.session, packer.staged()).finish()
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
