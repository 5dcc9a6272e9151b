//! Making a staged image count: everything durable, then the manifest, then its name.
//!
//! [`CommittedImage`] can only be made here. Who holds one holds the proof that the session is in the store,
//! which is what the shepherd's requeue asks for.

use crate::error::StoreError;
use crate::fault;
use crate::name;
use crate::pool::lock;
use crate::seal::{self, MANIFEST_BYTES_MAX};
use crate::sink::Sink;
use crate::stage::{FileState, StageError, StagedImage};
use stasis_contract::{FORMAT_VERSION, FileEntry, Manifest, Origin, SessionState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many files are made durable at once. An fsync waits for the storage and uses no core.
const SYNC_THREADS: usize = 16;
/// The manifest's name before it is whole.
const MANIFEST_UNFINISHED: &str = ".manifest";

/// Proof that an image is whole and durable in the store.
#[derive(Debug)]
pub struct CommittedImage {
    manifest: Manifest,
    path: PathBuf,
}

impl CommittedImage {
    /// Number of the image within its job.
    pub fn number(&self) -> u32 {
        self.manifest.origin.image
    }

    /// What the image says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The image's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl StagedImage {
    /// Makes the image whole: every file durable, then the manifest, then the image's name. After an error
    /// the image does not exist, and what was staged is removed.
    ///
    /// # Errors
    /// When a file is not finished, `origin` is of another image, or the store refuses.
    pub fn commit(mut self, origin: Origin, session: SessionState) -> Result<CommittedImage, StageError> {
        let failure = match self.try_commit(origin, session) {
            Ok(committed) => {
                self.folder = None;
                return Ok(committed);
            }
            Err(failure) => failure,
        };
        match self.remove() {
            Ok(()) => Err(failure),
            Err(cleanup) => Err(StageError::Cleanup { failure: Box::new(failure), cleanup }),
        }
    }

    pub(crate) fn try_commit(
        &mut self,
        origin: Origin,
        session: SessionState,
    ) -> Result<CommittedImage, StageError> {
        self.check_origin(&origin)?;
        let (files, unsynced) = self.take_files()?;
        self.sync_files(&unsynced)?;
        drop(unsynced);
        fault::reach("fsync files")?;
        let manifest = Manifest { format: FORMAT_VERSION, origin, session, files };
        let text = seal::write(&manifest, &self.shared.key);
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(StageError::ManifestTooLarge(text.len()));
        }
        self.write_manifest(&text)?;
        let path = self.take_name()?;
        Ok(CommittedImage { manifest, path })
    }

    fn check_origin(&self, origin: &Origin) -> Result<(), StageError> {
        let (place, user) = (&self.shared.place, &self.shared.user);
        let fields = [
            ("cluster", origin.cluster.clone(), place.cluster.clone()),
            ("job id", origin.job_id.to_string(), place.job_id.to_string()),
            ("uid", origin.uid.to_string(), place.uid.to_string()),
            ("gid", origin.gid.to_string(), user.gid.to_string()),
            ("image number", origin.image.to_string(), place.image.to_string()),
        ];
        for (field, found, expected) in fields {
            if found != expected {
                return Err(StageError::Origin { field, found, expected });
            }
        }
        Ok(())
    }

    /// The entries of all files in the order of their names, and what is not durable yet.
    fn take_files(&self) -> Result<(Vec<FileEntry>, Vec<Arc<Sink>>), StageError> {
        let (mut entries, mut unsynced) = (Vec::new(), Vec::new());
        for (name, state) in lock(&self.shared.files).iter_mut() {
            match state {
                FileState::Open => return Err(StageError::Unfinished(name.clone())),
                FileState::Finished { entry, unsynced: sink } => {
                    entries.push(entry.clone());
                    unsynced.extend(sink.take());
                }
            }
        }
        Ok((entries, unsynced))
    }

    fn sync_files(&self, files: &[Arc<Sink>]) -> Result<(), StoreError> {
        let next = AtomicUsize::new(0);
        let sync_some = || -> Result<(), StoreError> {
            let _worn = self.shared.user.wear()?;
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                file.sync()?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (1..files.len().min(SYNC_THREADS)).map(|_| scope.spawn(sync_some)).collect();
            let mut result = sync_some();
            for thread in threads {
                result = result.and(thread.join().expect("fsync does not panic"));
            }
            result
        })
    }

    /// Writes the manifest aside, makes it durable, and gives it its name.
    fn write_manifest(&self, text: &[u8]) -> Result<(), StageError> {
        let dir = &self.shared.dir;
        let worn = self.shared.user.wear().map_err(StoreError::from)?;
        let path = dir.path_of(MANIFEST_UNFINISHED);
        let failed = |verb| {
            let path = path.clone();
            move |source| StoreError::io(verb, &path, source)
        };
        let mut file = dir.create_file(&worn, MANIFEST_UNFINISHED)?;
        fault::reach("create manifest")?;
        let (first, second) = text.split_at(text.len() / 2);
        file.write_all(first).map_err(failed("write"))?;
        fault::reach("write half the manifest")?;
        file.write_all(second).map_err(failed("write"))?;
        fault::reach("write manifest")?;
        file.sync_all().map_err(failed("fsync"))?;
        fault::reach("fsync manifest")?;
        dir.rename(&worn, MANIFEST_UNFINISHED, name::MANIFEST)?;
        fault::reach("rename manifest")?;
        dir.sync(&worn)?;
        fault::reach("fsync folder")?;
        Ok(())
    }

    /// Gives the image its number, durably.
    fn take_name(&mut self) -> Result<PathBuf, StageError> {
        let number = name::number_name(self.shared.place.image)?;
        let worn = self.shared.user.wear().map_err(StoreError::from)?;
        let job_dir = &self.shared.job_dir;
        let folder = self.folder.as_deref().expect("a staged image has its folder until it is committed");
        job_dir.rename(&worn, folder, &number)?;
        // What a failure from here on has to remove.
        let path = job_dir.path_of(&number);
        self.folder = Some(number);
        fault::reach("rename folder")?;
        self.shared.job_dir.sync(&worn)?;
        fault::reach("fsync job folder")?;
        Ok(path)
    }
}
