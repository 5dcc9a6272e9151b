//! An image that was found in the store, and what has to hold before it is believed.

use crate::chunk::Place;
use crate::credentials::Worn;
use crate::error::StoreError;
use crate::key::Key;
use crate::name::{self, MANIFEST};
use crate::refusal::Refusal;
use crate::seal::{self, MANIFEST_BYTES_MAX};
use crate::store::Job;
use crate::verified::VerifiedManifest;
use crate::walk::Dir;
use nix::fcntl::OFlag;
use stasis_contract::Manifest;
use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;

/// What a restore knows of itself, and an image must agree with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Slurm's ClusterName.
    pub cluster: String,
    /// Slurm's job id.
    pub job_id: u32,
    /// Uid of the job's user.
    pub uid: u32,
    /// Primary gid of the job's user, where it is to be the same.
    pub gid: Option<u32>,
    /// How often the job has been requeued by now. Only images of earlier runs are restored.
    pub restart_count: u32,
}

/// What an image says of itself, not authenticated: for display only. Text in it has no control characters,
/// but may otherwise be anything that the store's owner wrote.
#[derive(Debug, Clone)]
pub struct UnverifiedManifest(Manifest);

impl UnverifiedManifest {
    /// What the image claims.
    pub fn claims(&self) -> &Manifest {
        &self.0
    }
}

/// A folder of the store that has an image's name.
#[derive(Debug, Clone)]
pub struct Candidate {
    job: Job,
    number: u32,
}

impl Candidate {
    pub(crate) fn new(job: Job, number: u32) -> Self {
        Self { job, number }
    }

    /// Number of the image within its job, as its folder is called.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The image's folder.
    pub fn path(&self) -> PathBuf {
        self.job.path().join(format!("{:06}", self.number))
    }

    /// Bytes that the image takes in the store.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn stored_bytes(&self) -> Result<u64, StoreError> {
        let worn = self.job.user().wear()?;
        self.dir(&worn)?.map_or(Ok(0), |dir| dir.bytes(&worn))
    }

    /// Reads the manifest for display, without a key. Nothing of it is sure.
    ///
    /// # Errors
    /// When there is no readable manifest, and why.
    pub fn peek(&self) -> Result<UnverifiedManifest, Refusal> {
        let worn = self.job.user().wear().map_err(StoreError::from)?;
        let dir = self.dir(&worn)?.ok_or(Refusal::Torn)?;
        let mut manifest = seal::peek(&read_manifest(&worn, &dir)?)?;
        let origin = &mut manifest.origin;
        for text in [&mut origin.cluster, &mut origin.node, &mut origin.kernel] {
            *text = printable(text);
        }
        origin.cpu_features.iter_mut().for_each(|text| *text = printable(text));
        for file in &mut manifest.files {
            file.name = printable(&file.name);
        }
        for tree in &mut manifest.session.trees {
            tree.file = tree.file.as_deref().map(printable);
            tree.mount_point = printable(&tree.mount_point.to_string_lossy()).into();
        }
        Ok(UnverifiedManifest(manifest))
    }

    /// Authenticates the manifest and the chunk table of every file, and checks that the image is the one
    /// that is expected here. The content is authenticated chunk by chunk when it is read.
    ///
    /// # Errors
    /// The first reason for which this image must not be restored.
    pub fn open(&self, key: &Key, expected: &Expected) -> Result<VerifiedManifest, Refusal> {
        let worn = self.job.user().wear().map_err(StoreError::from)?;
        let dir = self.dir(&worn)?.ok_or(Refusal::Torn)?;
        let manifest = seal::verify(&read_manifest(&worn, &dir)?, key)?;
        self.check_origin(&manifest, expected)?;
        check_names(&manifest)?;
        drop(worn);
        let place = Place::of(&manifest.origin);
        let verified = VerifiedManifest::new(manifest, dir, self.job.user().clone(), key.clone(), place);
        verified.check_files()?;
        Ok(verified)
    }

    fn dir(&self, worn: &Worn) -> Result<Option<Dir>, StoreError> {
        let number = name::number_name(self.number)?;
        match self.job.dir(worn)? {
            Some(job) => job.child(worn, OsStr::new(&number)),
            None => Ok(None),
        }
    }

    fn check_origin(&self, manifest: &Manifest, expected: &Expected) -> Result<(), Refusal> {
        let origin = &manifest.origin;
        if origin.cluster != expected.cluster {
            let (found, expected) = (origin.cluster.clone(), expected.cluster.clone());
            return Err(Refusal::ForeignCluster { found, expected });
        }
        if origin.uid != expected.uid {
            return Err(Refusal::ForeignUser { found: origin.uid, expected: expected.uid });
        }
        if let Some(gid) = expected.gid.filter(|gid| *gid != origin.gid) {
            return Err(Refusal::ForeignGroup { found: origin.gid, expected: gid });
        }
        if origin.job_id != expected.job_id {
            return Err(Refusal::ForeignJob { found: origin.job_id, expected: expected.job_id });
        }
        if origin.image != self.number {
            return Err(Refusal::ForeignNumber { found: origin.image, expected: self.number });
        }
        if origin.restart_count >= expected.restart_count {
            return Err(Refusal::NotEarlier { found: origin.restart_count, run: expected.restart_count });
        }
        Ok(())
    }
}

/// Names become path components: each must be plain, and none may come twice.
fn check_names(manifest: &Manifest) -> Result<(), Refusal> {
    let plain = manifest.files.iter().all(|file| name::is_file_name(&file.name));
    let sorted = manifest.files.windows(2).all(|pair| pair[0].name < pair[1].name);
    if plain && sorted {
        Ok(())
    } else {
        Err(Refusal::Malformed("the names of its files are not plain, sorted and different".into()))
    }
}

fn read_manifest(worn: &Worn, dir: &Dir) -> Result<Vec<u8>, Refusal> {
    let file = dir.file(worn, MANIFEST, OFlag::O_RDONLY)?.ok_or(Refusal::Torn)?;
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|source| StoreError::io("read", &dir.path_of(MANIFEST), source))?;
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(Refusal::Malformed(format!("it has more than {MANIFEST_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Text that a terminal does not act on.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
