//! The store is used with the user's rights, on the thread that uses it alone, and only then.

use super::*;
use crate::{CredentialError, StoreError};
use std::os::unix::fs::MetadataExt;

/// Uids, gids, groups and effective capabilities of the calling thread, as the kernel tells them.
fn credentials() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let wanted = ["Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:"];
    status
        .lines()
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn a_thread_becomes_the_user_and_comes_back_and_no_other_thread_notices() {
    if !have_root("a_thread_becomes_the_user_and_comes_back_and_no_other_thread_notices") {
        return;
    }
    let before = credentials();
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let (answer, answers) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        for () in asked {
            answer.send(credentials()).unwrap();
        }
    });
    let user = user();
    let worn = user.wear().unwrap();
    let now = credentials();
    assert_eq!(now[0], format!("Uid: 0 0 0 {UID}"));
    assert_eq!(now[1], format!("Gid: 0 0 0 {GID}"));
    assert_eq!(now[2], "Groups: 61236 61237");
    assert_eq!(now[4], "CapEff: 0000000000000000");
    ask.send(()).unwrap();
    assert_eq!(answers.recv().unwrap(), before);
    let again = user.wear().unwrap();
    drop(again);
    assert_eq!(credentials(), now, "an inner guard leaves all to the outer one");
    let root = User { uid: 0, gid: 0, groups: Vec::new() };
    assert!(matches!(root.wear(), Err(CredentialError::Nested { uid: 0, worn: UID })));
    drop(worn);
    assert_eq!(credentials(), before);
    drop(ask);
    other.join().unwrap();
}

#[test]
fn everything_in_the_store_is_the_users_and_private() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, &vec![1; 3_000_000])]);
    world.job.append_event(&listing::event(stasis_contract::Step::Start)).unwrap();
    let mut paths =
        vec![world.path(1, "a"), world.path(1, "manifest"), world.job.path().join("events.jsonl")];
    let store = world.folder.path().join("store");
    paths.extend(world.job.path().ancestors().take_while(|path| *path != store).map(Path::to_path_buf));
    for path in paths {
        let metadata = path.symlink_metadata().unwrap();
        let user = world.job.user();
        assert_eq!((metadata.uid(), metadata.gid()), (user.uid, user.gid), "{}", path.display());
        assert_eq!(
            metadata.mode() & 0o7777,
            if metadata.is_dir() { 0o700 } else { 0o600 },
            "{}",
            path.display()
        );
    }
}

#[test]
fn root_does_not_pass_where_the_user_may_not() {
    if !have_root("root_does_not_pass_where_the_user_may_not") {
        return;
    }
    let world = World::new();
    let store = world.folder.path().join("store");
    set_mode(&store, 0o755);
    let error = world.job.begin(1, &world.key).unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
    set_mode(&store, 0o700);
    assert!(matches!(world.job.images(), Err(StoreError::Denied { .. })));
    // What belongs to one of the user's groups is the user's to use.
    std::os::unix::fs::chown(&store, None, Some(61_237)).unwrap();
    set_mode(&store, 0o770);
    world.commit(1, &[("a", Compression::Lz4, b"a")]);
    world.read(1).unwrap();
}

#[test]
fn a_store_of_the_users_own_is_made_and_one_that_cannot_be_is_explained() {
    let world = World::new();
    let store = world.folder.path().join("store");
    let own = Store::open(&store.join("mine")).unwrap().job("testbed", 1, user()).unwrap();
    assert!(own.images().unwrap().is_empty() && own.events().unwrap().events.is_empty());
    let staged = own.begin(1, &world.key).unwrap();
    assert!(staged.path().starts_with(store.join("mine")));
    let lost = Store::open(&store.join("no/where")).unwrap().job("testbed", 1, user()).unwrap();
    let error = lost.begin(1, &world.key).unwrap_err().to_string();
    assert!(error.contains("does not exist: ask your site"), "{error}");
    let error = Store::open(Path::new("relative")).unwrap_err().to_string();
    assert!(error.contains("not an absolute path"), "{error}");
    assert!(Store::open(&store).unwrap().job("../x", 1, user()).is_err());
}
