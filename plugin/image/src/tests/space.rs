//! A full and a read-only store: said clearly, with nothing left that could be taken for an image.
//!
//! Each test mounts a small file system that only its own thread, and those it starts, can see.

use super::*;
use crate::StoreError;
use crate::stage::StageError;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::Write;

/// Runs a test on a store with room for this many bytes.
fn in_small_store(name: &str, bytes: usize, test: impl FnOnce(&World) + Send) {
    if !have_root(name) {
        return;
    }
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .unwrap();
            let world = World::new();
            let store = world.folder.path().join("store");
            let options = format!("size={bytes},mode=1777");
            mount(Some("tmpfs"), &store, Some("tmpfs"), MsFlags::empty(), Some(&*options)).unwrap();
            test(&world);
            nix::mount::umount(&store).unwrap();
        });
        run.join().unwrap();
    });
}

fn remount(world: &World, flags: MsFlags) {
    let store = world.folder.path().join("store");
    mount(None::<&str>, &store, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
}

#[test]
fn a_full_store_is_told_and_nothing_half_is_left() {
    in_small_store("a_full_store_is_told_and_nothing_half_is_left", 8 << 20, |world| {
        world.commit(1, &[("a", Compression::Lz4, b"old")]);
        let content = noise(32 << 20);
        let staged = world.job.begin(2, &world.key).unwrap();
        let error = staged.add("big", Compression::Lz4, &*content).unwrap_err();
        assert!(
            matches!(&error, StageError::Store(StoreError::Full { path, .. }) if path.ends_with("big")),
            "{error}"
        );
        assert!(error.to_string().contains("the store is full: no space for"), "{error}");
        let error = staged.commit(world.origin(2), session()).unwrap_err();
        assert!(matches!(error, StageError::Unfinished(_)), "{error}");
        assert_eq!(world.entries(), ["000001"]);
        world.read(1).unwrap();
        // With room again the next image is whole.
        world.commit(2, &[("a", Compression::None, &noise(6 << 20))]);
        world.read(2).unwrap();
    });
}

#[test]
fn a_stream_into_a_full_store_gets_its_kind_of_error() {
    in_small_store("a_stream_into_a_full_store_gets_its_kind_of_error", 4 << 20, |world| {
        let staged = world.job.begin(1, &world.key).unwrap();
        let mut writer = staged.file("big", Compression::None).unwrap();
        let error = writer.write_all(&noise(64 << 20)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert!(writer.finish().is_err());
        drop(staged);
        assert_eq!(world.entries(), [""; 0]);
    });
}

#[test]
fn a_store_too_full_for_the_last_files_is_told_at_whichever_step() {
    in_small_store("a_store_too_full_for_the_last_files_is_told_at_whichever_step", 1 << 20, |world| {
        let mut failed = 0;
        for small in 0..400 {
            let staged = world.job.begin(1, &world.key).unwrap();
            let content = noise((1 << 20) - 4096 * small);
            let result = staged
                .add("a", Compression::None, &*content)
                .and_then(|_| staged.commit(world.origin(1), session()));
            match result {
                Ok(_) => {
                    world.read(1).unwrap();
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, StageError::Store(StoreError::Full { .. })), "{error}");
                    assert_eq!(world.entries(), [""; 0]);
                    failed += 1;
                }
            }
        }
        assert!(failed > 1 && world.entries() == ["000001"]);
    });
}

#[test]
fn a_read_only_store_is_told_and_can_still_be_restored_from() {
    in_small_store("a_read_only_store_is_told_and_can_still_be_restored_from", 8 << 20, |world| {
        world.commit(1, &[("a", Compression::Lz4, b"old")]);
        let staged = world.job.begin(2, &world.key).unwrap();
        remount(world, MsFlags::MS_RDONLY);
        let error = staged.file("a", Compression::Lz4).unwrap_err();
        assert!(matches!(error, StageError::Store(StoreError::ReadOnly { .. })), "{error}");
        let error = staged.commit(world.origin(2), session()).unwrap_err();
        let StageError::Cleanup { failure, cleanup } = &error else { panic!("{error}") };
        assert!(matches!(**failure, StageError::Store(StoreError::ReadOnly { .. })), "{failure}");
        assert!(matches!(cleanup, StoreError::ReadOnly { .. }), "{cleanup}");
        let text = error.to_string();
        assert!(text.contains("the store is read-only") && text.contains("could not be removed"), "{text}");
        let error = world.job.begin(2, &world.key).unwrap_err();
        assert!(matches!(error, StageError::Store(StoreError::ReadOnly { .. })), "{error}");
        assert!(world.job.append_event(&listing::event(stasis_contract::Step::End)).is_err());
        let numbers: Vec<_> = world.job.images().unwrap().iter().map(crate::Candidate::number).collect();
        assert_eq!(numbers, [1]);
        world.read(1).unwrap();
        remount(world, MsFlags::empty());
        world.commit(2, &[("a", Compression::Lz4, b"new")]);
    });
}
