//! A store in a temporary folder, filled through stasis-image as a shepherd would, for the tests.

use proptest::prelude::*;
use stasis_contract::{Compression, Event, Origin, SessionState, Step, Trigger};
use stasis_image::{Job, Key, Store, User};
use tempfile::TempDir;

/// The time of the tests: 2026-11-22 10:00:00 UTC.
pub const NOW_UNIX_MS: u64 = 1_795_341_600_000;

/// Text of all characters there are, with many of those that a terminal acts on. (`any::<String>()` has none.)
pub fn hostile_text() -> impl Strategy<Value = String> {
    let acting = "\u{1b}\u{9b}\n\r\t\u{7}\u{8}\u{7f}\u{200b}\u{202e}\u{2066}\u{feff}\u{e0041}";
    let acting = proptest::sample::select(acting.chars().collect::<Vec<_>>());
    let one = prop_oneof![any::<char>(), acting, proptest::char::range(' ', '~')];
    proptest::collection::vec(one, 0..40).prop_map(String::from_iter)
}

/// A store and a key.
pub struct Place {
    /// The store.
    pub store: Store,
    key: std::path::PathBuf,
    _folder: TempDir,
}

impl Place {
    /// An empty store.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        std::fs::create_dir(&path).unwrap();
        Self { store: Store::open(&path).unwrap(), key: folder.path().join("key"), _folder: folder }
    }

    /// A job's part of it, of the user who runs the tests.
    pub fn job(&self, cluster: &str, id: u32) -> Job {
        let user = User {
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            groups: Vec::new(),
        };
        self.store.job(cluster, id, user).unwrap()
    }

    /// Commits an image of a session with `bytes` bytes of memory that was taken `age_s` seconds ago.
    pub fn commit(&self, job: &Job, number: u32, trigger: Trigger, age_s: u64, node: &str) {
        if !self.key.exists() {
            Key::create(&self.key).unwrap();
        }
        let key = Key::load(&self.key).expect("a key is root's: run these tests as root");
        let staged = job.begin(number, &key).unwrap();
        staged.add("pages-1.img", Compression::None, &vec![7u8; 1 << 20][..]).unwrap();
        let origin = Origin {
            cluster: job.cluster().into(),
            job_id: job.job_id(),
            uid: job.uid(),
            gid: nix::unistd::getgid().as_raw(),
            image: number,
            restart_count: number - 1,
            created_unix_ms: NOW_UNIX_MS - age_s * 1000,
            node: node.into(),
            kernel: "6.18.0".into(),
            cpu_features: vec!["avx".into()],
            trigger,
        };
        let session = SessionState {
            root_pid: 3,
            pids: vec![3, 4, 5],
            stdout_pipe: 1,
            stderr_pipe: 1,
            ports: vec![8888],
            resident_bytes: 64 << 20,
            trees: Vec::new(),
        };
        staged.commit(origin, session).unwrap();
    }
}

/// An event of job 7 on n1, `at_ms` after ten minutes ago.
pub fn event(step: Step, at_ms: u64) -> Event {
    Event {
        at_unix_ms: NOW_UNIX_MS - 600_000 + at_ms,
        job_id: 7,
        restart_count: 0,
        node: "n1".into(),
        step,
        image: None,
        trigger: None,
        seconds: None,
        bytes: None,
        message: None,
    }
}

/// A record as slurmctld gives it.
pub fn slurm_job(id: u32, state: slurm_sys::JobState, state_name: &'static str) -> slurm_sys::Job {
    slurm_sys::Job {
        id,
        uid: nix::unistd::getuid().as_raw(),
        state,
        state_name,
        is_batch: true,
        restart_count: 1,
        partition: "low".into(),
        nodes: "n2".into(),
        name: "notebook".into(),
        ..slurm_sys::Job::default()
    }
}
