//! Tests of the whole store: what must survive, and what must never be taken for an image.

mod crash;
mod credentials;
mod hostile;
mod key;
mod listing;
mod mutation;
mod round_trip;
mod space;

use crate::{CommittedImage, Expected, Job, Key, Refusal, Store, User, VerifiedManifest};
use stasis_contract::{Compression, Origin, SessionState, Trigger};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A job's user: somebody else than root where the tests run as root, so that credentials are really changed.
const UID: u32 = 61_234;
const GID: u32 = 61_235;

/// A store of one test, and one job in it.
struct World {
    folder: TempDir,
    job: Job,
    key: Key,
}

fn user() -> User {
    if is_root() {
        User { uid: UID, gid: GID, groups: vec![61_236, 61_237] }
    } else {
        User {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: Vec::new(),
        }
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a test that needs root can run. Where it cannot, it fails unless skipping is allowed.
fn have_root(test: &str) -> bool {
    if !is_root() {
        println!("skipped: {test} needs root");
        let allowed = std::env::var_os("STASIS_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(allowed, "{test} needs root; set STASIS_ALLOW_SKIP=1 to skip it");
    }
    is_root()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        set_mode(&store, 0o1777);
        let job = Store::open(&store).unwrap().job("testbed", 42, user()).unwrap();
        Self { folder, job, key: Key::for_tests(1) }
    }

    /// Commits an image with these files.
    fn commit(&self, number: u32, files: &[(&str, Compression, &[u8])]) -> CommittedImage {
        let staged = self.job.begin(number, &self.key).unwrap();
        for (name, compression, content) in files {
            staged.add(name, *compression, *content).unwrap();
        }
        staged.commit(self.origin(number), session()).unwrap()
    }

    fn origin(&self, image: u32) -> Origin {
        Origin {
            cluster: self.job.cluster().into(),
            job_id: self.job.job_id(),
            uid: self.job.user().uid,
            gid: self.job.user().gid,
            image,
            restart_count: 0,
            created_unix_ms: 1_700_000_000_000,
            node: "node1".into(),
            kernel: "6.1.0".into(),
            cpu_features: vec!["avx2".into(), "sse2".into()],
            trigger: Trigger::Preemption,
        }
    }

    fn expected(&self) -> Expected {
        let user = self.job.user();
        Expected {
            cluster: self.job.cluster().into(),
            job_id: self.job.job_id(),
            uid: user.uid,
            gid: Some(user.gid),
            restart_count: 1,
        }
    }

    /// Opens an image as a restore of the next run would.
    fn open(&self, number: u32) -> Result<VerifiedManifest, Refusal> {
        let images = self.job.images().unwrap();
        images.iter().find(|image| image.number() == number).unwrap().open(&self.key, &self.expected())
    }

    /// Opens an image and reads all of it.
    fn read(&self, number: u32) -> Result<u64, Refusal> {
        read(&self.open(number)?)
    }

    /// The path of something in an image's folder.
    fn path(&self, number: u32, name: &str) -> PathBuf {
        self.job.path().join(format!("{number:06}")).join(name)
    }

    /// What is in the job's folder.
    fn entries(&self) -> Vec<String> {
        let Ok(folder) = self.job.path().read_dir() else { return Vec::new() };
        let mut names: Vec<_> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn session() -> SessionState {
    SessionState {
        root_pid: 2,
        pids: vec![2, 3],
        stdout_pipe: 1,
        stderr_pipe: 2,
        ports: vec![8888],
        resident_bytes: 1 << 20,
        trees: Vec::new(),
    }
}

/// Content that does not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Gives a path to a user, without following a link.
fn give_to(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}

/// Gives a path to the job's user, where the tests run as root.
fn give_to_user(path: &Path) {
    if is_root() {
        give_to(path, UID);
    }
}

/// Reads all of an image. Returns its bytes of content.
fn read(verified: &VerifiedManifest) -> Result<u64, Refusal> {
    let mut bytes = 0;
    for file in &verified.manifest().files {
        let read = std::io::copy(&mut verified.reader(&file.name)?, &mut std::io::sink());
        bytes += read.map_err(|error| {
            let inner = error.into_inner().expect("a stream fails with a reason");
            *inner.downcast::<Refusal>().expect("the reason is a refusal")
        })?;
    }
    Ok(bytes)
}
