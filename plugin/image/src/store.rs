//! Where images are: the store, a user's jobs in it, a job's images.
//!
//! The layout is `STORE/<uid>/<cluster>/<job id>/<image number>/`. Everything is done with the user's rights.

use crate::candidate::Candidate;
use crate::chunk::Place;
use crate::credentials::{User, Worn};
use crate::error::StoreError;
use crate::key::Key;
use crate::name;
use crate::stage::{self, StageError, StagedImage};
use crate::walk::Dir;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Group for looking at a user's images when only the uid is known: one that gives no rights.
const GID_NOBODY: u32 = 65_534;

/// A folder on shared storage that holds images.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// One job's part of the store, used on behalf of its user.
#[derive(Debug, Clone)]
pub struct Job {
    store: PathBuf,
    cluster: String,
    id: u32,
    user: User,
}

impl Store {
    /// Names the store. Nothing is touched yet.
    ///
    /// # Errors
    /// When the path is relative.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if path.is_absolute() {
            Ok(Self { path: path.into() })
        } else {
            Err(StoreError::Relative(path.into()))
        }
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A job's part of the store. Nothing is touched yet.
    ///
    /// # Errors
    /// When the cluster's name cannot be a folder's.
    pub fn job(&self, cluster: &str, job_id: u32, user: User) -> Result<Job, StoreError> {
        name::check_cluster(cluster)?;
        Ok(Job { store: self.path.clone(), cluster: cluster.into(), id: job_id, user })
    }

    /// All jobs of a user that have anything in the store, by cluster and job id.
    ///
    /// # Errors
    /// When the user's part of the store cannot be read.
    pub fn list_for(&self, uid: u32) -> Result<Vec<Job>, StoreError> {
        let user = User { uid, gid: GID_NOBODY, groups: Vec::new() };
        let worn = user.wear()?;
        let Some(store) = Dir::store(&worn, &self.path)? else { return Ok(Vec::new()) };
        let Some(mine) = store.child(&worn, OsStr::new(&uid.to_string()))? else { return Ok(Vec::new()) };
        let mut jobs = Vec::new();
        for cluster in mine.names(&worn)? {
            let Some(text) = cluster.to_str().filter(|text| name::check_cluster(text).is_ok()) else {
                continue;
            };
            // What is no folder of the user's is no cluster.
            let Ok(Some(folder)) = mine.child(&worn, &cluster) else { continue };
            let mut ids: Vec<u32> = folder.names(&worn)?.iter().filter_map(|id| name::parse_id(id)).collect();
            ids.sort_unstable();
            for job_id in ids {
                let job = self.job(text, job_id, user.clone())?;
                if matches!(job.dir(&worn), Ok(Some(_))) {
                    jobs.push(job);
                }
            }
        }
        Ok(jobs)
    }

    /// All jobs of all users, for root; for others those that they may see.
    ///
    /// # Errors
    /// When the store itself cannot be read.
    pub fn list_all(&self) -> Result<Listing, StoreError> {
        let nobody = User { uid: GID_NOBODY, gid: GID_NOBODY, groups: Vec::new() };
        let worn = nobody.wear()?;
        let Some(store) = Dir::store(&worn, &self.path)? else { return Ok(Listing::default()) };
        let mut uids: Vec<u32> = store.names(&worn)?.iter().filter_map(|uid| name::parse_id(uid)).collect();
        drop(worn);
        uids.sort_unstable();
        let mut listing = Listing::default();
        for uid in uids {
            match self.list_for(uid) {
                Ok(jobs) => listing.jobs.extend(jobs),
                Err(error) => listing.unread.push((uid, error)),
            }
        }
        Ok(listing)
    }
}

/// The jobs of all users.
#[derive(Debug, Default)]
pub struct Listing {
    /// By uid, cluster and job id.
    pub jobs: Vec<Job>,
    /// Uids whose part of the store cannot be read, and why.
    pub unread: Vec<(u32, StoreError)>,
}

/// What [`Job::retain`] and [`Job::remove`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Folders that were removed: images, and what unfinished ones left.
    pub folders: u32,
    /// Bytes of the files in them.
    pub bytes: u64,
}

impl Job {
    /// Slurm's ClusterName.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Slurm's job id.
    pub fn job_id(&self) -> u32 {
        self.id
    }

    /// Uid of the job's user.
    pub fn uid(&self) -> u32 {
        self.user.uid
    }

    /// The job's folder, for messages.
    pub fn path(&self) -> PathBuf {
        self.store.join(self.user.uid.to_string()).join(&self.cluster).join(self.id.to_string())
    }

    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    fn components(&self) -> [OsString; 3] {
        [self.user.uid.to_string().into(), self.cluster.clone().into(), self.id.to_string().into()]
    }

    /// The job's folder, if it exists.
    pub(crate) fn dir(&self, worn: &Worn) -> Result<Option<Dir>, StoreError> {
        let mut dir = Dir::store(worn, &self.store)?;
        for name in self.components() {
            match dir {
                Some(parent) => dir = parent.child(worn, &name)?,
                None => return Ok(None),
            }
        }
        Ok(dir)
    }

    /// The job's folder, made if it does not exist.
    pub(crate) fn make_dir(&self, worn: &Worn) -> Result<Dir, StoreError> {
        let mut dir = match Dir::store(worn, &self.store)? {
            Some(store) => store,
            None => Dir::create_store(worn, &self.store)?,
        };
        for name in self.components() {
            dir = dir.child_or_create(worn, &name)?;
        }
        Ok(dir)
    }

    /// Begins an image. Nothing takes it for one until it is committed.
    ///
    /// # Errors
    /// When there is an image with this number, or the store refuses.
    pub fn begin(&self, number: u32, key: &Key) -> Result<StagedImage, StageError> {
        let name = name::number_name(number)?;
        let worn = self.user.wear().map_err(StoreError::from)?;
        let dir = self.make_dir(&worn)?;
        if dir.has(&worn, &name)? {
            return Err(StoreError::Exists(dir.path_of(name)).into());
        }
        let place =
            Place { cluster: self.cluster.clone(), job_id: self.id, uid: self.user.uid, image: number };
        drop(worn);
        StagedImage::begin(dir, &self.user, place, key)
    }

    /// The number after the largest that any folder of the job has.
    ///
    /// # Errors
    /// When the folder cannot be read, or numbers have run out.
    pub fn next_number(&self) -> Result<u32, StoreError> {
        let next = self.images()?.first().map_or(1, |newest| newest.number() + 1);
        name::number_name(next).map(|_| next)
    }

    /// All folders that have an image's name, the newest first. What each is worth shows when it is opened.
    ///
    /// # Errors
    /// When the job's folder cannot be read.
    pub fn images(&self) -> Result<Vec<Candidate>, StoreError> {
        let worn = self.user.wear()?;
        let Some(dir) = self.dir(&worn)? else { return Ok(Vec::new()) };
        let names = dir.names(&worn)?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| name::parse_number(name)).collect();
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        Ok(numbers.into_iter().map(|number| Candidate::new(self.clone(), number)).collect())
    }

    /// Removes all but the newest `keep` images that have a readable manifest, and what earlier runs of the
    /// job left unfinished.
    ///
    /// # Errors
    /// When something could not be removed; the rest is removed all the same.
    pub fn retain(&self, keep: u32) -> Result<Removed, StoreError> {
        let (mut kept, mut doomed) = (0, Vec::new());
        for image in self.images()? {
            let whole = matches!(image.peek(), Ok(_) | Err(crate::Refusal::Newer { .. }));
            if whole && kept < keep {
                kept += 1;
            } else {
                doomed.push(OsString::from(name::number_name(image.number())?));
            }
        }
        let worn = self.user.wear()?;
        let Some(dir) = self.dir(&worn)? else { return Ok(Removed::default()) };
        for entry in dir.names(&worn)? {
            if stage::is_stale(&entry)? {
                doomed.push(entry);
            }
        }
        remove_all(&worn, &dir, &doomed)
    }

    /// Removes one image.
    ///
    /// # Errors
    /// When it could not be removed.
    pub fn remove_image(&self, number: u32) -> Result<Removed, StoreError> {
        let worn = self.user.wear()?;
        let Some(dir) = self.dir(&worn)? else { return Ok(Removed::default()) };
        remove_all(&worn, &dir, &[name::number_name(number)?.into()])
    }

    /// Removes everything of the job, its event log too.
    ///
    /// # Errors
    /// When something could not be removed.
    pub fn remove(&self) -> Result<Removed, StoreError> {
        let worn = self.user.wear()?;
        let Some(dir) = self.dir(&worn)? else { return Ok(Removed::default()) };
        let removed = remove_all(&worn, &dir, &dir.names(&worn)?)?;
        let [uid, cluster, job_id] = self.components();
        let above =
            Dir::store(&worn, &self.store)?.map(|store| store.child(&worn, &uid)).transpose()?.flatten();
        if let Some(cluster) = above.map(|mine| mine.child(&worn, &cluster)).transpose()?.flatten() {
            cluster.remove(&worn, &job_id)?;
        }
        Ok(removed)
    }
}

/// Removes entries of a job's folder. An image first loses its name, so that half of it is never an image.
fn remove_all(worn: &Worn, dir: &Dir, names: &[OsString]) -> Result<Removed, StoreError> {
    let (mut removed, mut failure) = (Removed::default(), None);
    for name in names {
        match remove_one(worn, dir, name) {
            Ok(bytes) => {
                removed.folders += 1;
                removed.bytes += bytes;
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(removed), Err)
}

fn remove_one(worn: &Worn, dir: &Dir, name: &OsStr) -> Result<u64, StoreError> {
    let bytes = dir.child(worn, name).ok().flatten().map_or(0, |folder| folder.bytes(worn).unwrap_or(0));
    let Some(number) = name::parse_number(name) else {
        dir.remove(worn, name)?;
        return Ok(bytes);
    };
    let aside = stage::staging_name(number)?;
    if dir.has(worn, &name.to_string_lossy())? {
        dir.rename(worn, &name.to_string_lossy(), &aside)?;
    }
    dir.remove(worn, OsStr::new(&aside))?;
    Ok(bytes)
}
