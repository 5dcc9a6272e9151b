//! Whatever fails or stops in the middle of writing an image, what is left is never taken for one.

use super::*;
use crate::stage::StageError;
use crate::{StoreError, fault};
use std::io::Write;

/// Stages and commits image 2, of two files.
fn make(world: &World) -> Result<CommittedImage, StageError> {
    let staged = world.job.begin(2, &world.key)?;
    staged.add("a.img", Compression::Lz4, &*vec![7; 3_000_000])?;
    staged.add("b.img", Compression::None, &b"small"[..])?;
    staged.commit(world.origin(2), session())
}

/// The same by a process that dies at the failing step, so that nothing is cleaned up.
fn make_and_die(world: &World) -> Result<(), StageError> {
    let mut staged = world.job.begin(2, &world.key)?;
    let result = staged
        .add("a.img", Compression::Lz4, &*vec![7; 3_000_000])
        .and_then(|_| staged.add("b.img", Compression::None, &b"small"[..]))
        .and_then(|_| staged.try_commit(world.origin(2), session()).map(drop));
    staged.folder = None;
    result
}

/// Every step of making an image, by name.
fn steps() -> Vec<&'static str> {
    let world = World::new();
    fault::arm(None);
    make(&world).unwrap();
    fault::reached()
}

#[test]
fn a_failure_at_any_step_is_told_and_leaves_nothing() {
    let steps = steps();
    assert!(steps.len() >= 12, "{steps:?}");
    for (count, step) in steps.iter().enumerate() {
        let world = World::new();
        world.commit(1, &[("old", Compression::Lz4, b"old")]);
        fault::arm(Some(count));
        let error = make(&world).unwrap_err();
        fault::arm(None);
        assert!(error.to_string().starts_with(&format!("cannot {step}")), "{error}");
        assert_eq!(world.entries(), ["000001"], "after {step}");
        world.read(1).unwrap();
    }
}

#[test]
fn a_death_at_any_step_leaves_nothing_that_is_taken_for_an_image() {
    for (count, step) in steps().iter().enumerate() {
        let world = World::new();
        world.commit(1, &[("old", Compression::Lz4, b"old")]);
        fault::arm(Some(count));
        // The first step is in `begin`, which cleans up by itself.
        let error = make_and_die(&world).unwrap_err();
        fault::arm(None);
        assert!(error.to_string().starts_with(&format!("cannot {step}")), "{error}");
        let numbers: Vec<_> = world.job.images().unwrap().iter().map(crate::Candidate::number).collect();
        // Only once it has its name does it exist, and then it is whole.
        if step.contains("job folder") || *step == "rename folder" {
            assert_eq!(numbers, [2, 1], "after {step}");
            assert_eq!(world.read(2).unwrap(), 3_000_005);
        } else {
            assert_eq!(numbers, [1], "after {step}");
        }
        world.read(1).unwrap();
        assert_eq!(world.job.next_number().unwrap(), numbers[0] + 1);
    }
}

#[test]
fn a_folder_with_an_images_name_and_no_manifest_is_torn() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"a")]);
    std::fs::remove_file(world.path(1, "manifest")).unwrap();
    let refusal = world.open(1).unwrap_err();
    assert!(matches!(refusal, Refusal::Torn), "{refusal}");
    assert!(matches!(world.job.images().unwrap()[0].peek(), Err(Refusal::Torn)));
}

#[test]
fn the_rest_of_a_dead_run_is_removed_by_the_next_and_that_of_this_run_is_not() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"a")]);
    let stale = world.job.path().join(".tmp-2-0123456789abcdef-0");
    std::fs::create_dir(&stale).unwrap();
    std::fs::write(stale.join("a"), [1; 100]).unwrap();
    give_to_user(&stale);
    let staged = world.job.begin(3, &world.key).unwrap();
    let removed = world.job.retain(2).unwrap();
    assert_eq!((removed.folders, removed.bytes), (1, 100));
    assert!(!stale.exists() && staged.path().exists());
    staged.commit(world.origin(3), session()).unwrap();
    assert_eq!(world.entries(), ["000001", "000003"]);
}

#[test]
fn a_dropped_or_abandoned_image_is_removed() {
    let world = World::new();
    let staged = world.job.begin(1, &world.key).unwrap();
    let mut writer = staged.file("a", Compression::Lz4).unwrap();
    writer.write_all(&vec![1; 5_000_000]).unwrap();
    drop(staged);
    assert_eq!(world.entries(), [""; 0]);
    // A writer that outlives its image harms nothing.
    writer.write_all(&vec![1; 5_000_000]).unwrap();
    drop(writer);
    world.job.begin(1, &world.key).unwrap().abandon().unwrap();
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn what_is_not_finished_is_not_committed() {
    let world = World::new();
    let staged = world.job.begin(1, &world.key).unwrap();
    drop(staged.file("a", Compression::Lz4).unwrap());
    let error = staged.commit(world.origin(1), session()).unwrap_err();
    assert!(matches!(&error, StageError::Unfinished(name) if name == "a"), "{error}");
    assert_eq!(world.entries(), [""; 0]);
}

/// Gives a little, and then fails.
struct Broken(bool);

impl std::io::Read for Broken {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(std::io::Error::other("the pipe broke"));
        }
        out.fill(1);
        Ok(out.len())
    }
}

#[test]
fn a_source_that_breaks_spoils_the_image() {
    let world = World::new();
    let staged = world.job.begin(1, &world.key).unwrap();
    let error = staged.add("a", Compression::Lz4, Broken(false)).unwrap_err();
    assert_eq!(error.to_string(), "cannot read what becomes a in the image: the pipe broke");
    assert!(staged.commit(world.origin(1), session()).is_err());
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn an_image_is_committed_only_as_what_it_was_staged_for() {
    let world = World::new();
    let right = world.origin(1);
    let wrong = [
        Origin { cluster: "other".into(), ..right.clone() },
        Origin { job_id: 1, ..right.clone() },
        Origin { uid: 0, ..right.clone() },
        Origin { gid: 0, ..right.clone() },
        Origin { image: 2, ..right },
    ];
    for origin in wrong {
        let staged = world.job.begin(1, &world.key).unwrap();
        let error = staged.commit(origin, session()).unwrap_err();
        assert!(matches!(error, StageError::Origin { .. }), "{error}");
    }
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn an_image_is_never_written_over() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"first")]);
    let error = world.job.begin(1, &world.key).unwrap_err();
    assert!(matches!(error, StageError::Store(StoreError::Exists(_))), "{error}");
    // Also not when the other one came in between.
    let late = world.job.begin(2, &world.key).unwrap();
    world.commit(2, &[("a", Compression::Lz4, b"second")]);
    let error = late.commit(world.origin(2), session()).unwrap_err();
    assert!(matches!(error, StageError::Store(StoreError::Exists(_))), "{error}");
    assert_eq!(world.read(2).unwrap(), 6);
    assert_eq!(world.entries(), ["000001", "000002"]);
}

#[test]
fn a_name_is_used_once_and_is_plain() {
    let world = World::new();
    let staged = world.job.begin(1, &world.key).unwrap();
    staged.add("a", Compression::Lz4, &b"a"[..]).unwrap();
    assert!(matches!(staged.file("a", Compression::Lz4), Err(StageError::Twice(_))));
    for name in ["", "..", "a/b", "manifest", ".manifest"] {
        let error = staged.file(name, Compression::Lz4).unwrap_err();
        assert!(matches!(error, StageError::Store(StoreError::Name { .. })), "{name}: {error}");
    }
}

#[test]
fn a_discarded_file_has_never_been() {
    let world = World::new();
    let staged = world.job.begin(1, &world.key).unwrap();
    staged.add("a", Compression::Lz4, &b"too early"[..]).unwrap();
    staged.add("b", Compression::Lz4, &b"b"[..]).unwrap();
    staged.discard("a").unwrap();
    assert!(matches!(staged.discard("a"), Err(StageError::Unfinished(_))));
    staged.add("a", Compression::Lz4, &b"in time"[..]).unwrap();
    staged.discard("b").unwrap();
    let image = staged.commit(world.origin(1), session()).unwrap();
    let names: Vec<&str> = image.manifest().files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(world.read(1).unwrap(), 7);
}
