//! What users may plant in the store: links, fifos, folders of others. None is followed, waited for or removed.

use super::*;
use crate::StoreError;
use crate::stage::StageError;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::os::unix::fs::symlink;

fn store_error(error: &StageError) -> &StoreError {
    match error {
        StageError::Store(error) => error,
        other => panic!("{other}"),
    }
}

/// Makes something at the path of the job's folder, of its cluster's or of its user's.
fn plant(world: &World, levels_up: usize, make: impl Fn(&Path)) {
    let path = world.job.path();
    let path = path.ancestors().nth(levels_up).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let store = world.folder.path().join("store");
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != store) {
        give_to_user(folder);
    }
    make(path);
}

#[test]
fn a_link_in_place_of_a_folder_is_not_followed() {
    for levels_up in 0..3 {
        let world = World::new();
        let outside = world.folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        give_to_user(&outside);
        plant(&world, levels_up, |path| {
            symlink(&outside, path).unwrap();
            give_to_user(path);
        });
        let error = world.job.begin(1, &world.key).unwrap_err();
        assert!(matches!(store_error(&error), StoreError::NotAFolder(_)), "{error}");
        assert!(matches!(world.job.images(), Err(StoreError::NotAFolder(_))));
        assert!(matches!(world.job.remove(), Err(StoreError::NotAFolder(_))));
        assert_eq!(outside.read_dir().unwrap().count(), 0);
    }
}

#[test]
fn a_folder_of_another_is_not_used() {
    if !have_root("a_folder_of_another_is_not_used") {
        return;
    }
    for levels_up in 0..3 {
        let world = World::new();
        plant(&world, levels_up, |path| {
            std::fs::create_dir(path).unwrap();
            give_to(path, 61_999);
            set_mode(path, 0o777);
        });
        let error = world.job.begin(1, &world.key).unwrap_err();
        assert!(
            matches!(store_error(&error), StoreError::Foreign { owner: 61_999, uid: UID, .. }),
            "{error}"
        );
        let error = world.job.images().unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    }
}

#[test]
fn a_file_of_another_is_refused() {
    if !have_root("a_file_of_another_is_refused") {
        return;
    }
    for name in ["a", "manifest"] {
        let world = World::new();
        world.commit(1, &[("a", Compression::Lz4, b"content")]);
        set_mode(&world.path(1, name), 0o666);
        give_to(&world.path(1, name), 61_999);
        let refusal = world.open(1).unwrap_err();
        assert!(matches!(refusal, Refusal::Store(StoreError::Foreign { owner: 61_999, .. })), "{refusal}");
    }
}

#[test]
fn links_fifos_and_folders_in_place_of_files_are_refused() {
    type Make = fn(&Path);
    let makes: [Make; 3] = [
        |path| symlink("/etc/passwd", path).unwrap(),
        |path| mkfifo(path, Mode::from_bits_truncate(0o600)).unwrap(),
        |path| std::fs::create_dir(path).unwrap(),
    ];
    for make in makes {
        for name in ["a", "manifest"] {
            let world = World::new();
            world.commit(1, &[("a", Compression::Lz4, b"content")]);
            std::fs::remove_file(world.path(1, name)).unwrap();
            make(&world.path(1, name));
            give_to_user(&world.path(1, name));
            let refusal = world.open(1).unwrap_err();
            assert!(matches!(refusal, Refusal::Store(StoreError::NotAFile(_))), "{refusal}");
        }
    }
}

#[test]
fn an_image_that_is_a_link_to_another_is_refused() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"content")]);
    symlink("000001", world.job.path().join("000002")).unwrap();
    let refusal = world.open(2).unwrap_err();
    assert!(matches!(refusal, Refusal::Store(StoreError::NotAFolder(_))), "{refusal}");
    world.job.retain(1).unwrap();
    assert_eq!(world.entries(), ["000001"]);
    world.read(1).unwrap();
}

#[test]
fn removing_touches_nothing_outside() {
    let world = World::new();
    let outside = world.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "x").unwrap();
    give_to_user(&outside);
    give_to_user(&outside.join("precious"));
    world.commit(1, &[("a", Compression::Lz4, b"content")]);
    world.commit(2, &[("a", Compression::Lz4, b"content")]);
    symlink(&outside, world.path(1, "link")).unwrap();
    symlink(outside.join("precious"), world.path(1, "file-link")).unwrap();
    mkfifo(&world.path(1, "fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    let nested = world.path(1, "x/y/z");
    std::fs::create_dir_all(&nested).unwrap();
    symlink(&outside, nested.join("link")).unwrap();
    for folder in nested.ancestors().take(3) {
        give_to_user(folder);
    }
    symlink(&outside, world.job.path().join("000003")).unwrap();
    symlink(&outside, world.job.path().join(".tmp-9-dead-0")).unwrap();
    world.job.retain(1).unwrap();
    assert_eq!(world.entries(), ["000002"]);
    symlink(&outside, world.job.path().join("more")).unwrap();
    world.job.remove().unwrap();
    assert!(!world.job.path().exists());
    assert!(outside.join("precious").exists());
}

#[test]
fn what_the_user_may_not_remove_stays() {
    if !have_root("what_the_user_may_not_remove_stays") {
        return;
    }
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"content")]);
    let foreign = world.path(1, "foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("kept"), "x").unwrap();
    let error = world.job.remove().unwrap_err();
    assert!(matches!(error, StoreError::Foreign { owner: 0, .. }), "{error}");
}

#[test]
fn a_nest_without_end_is_given_up() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"content")]);
    let nest = (0..40).fold(world.path(1, "n"), |path, _| path.join("n"));
    std::fs::create_dir_all(&nest).unwrap();
    let image = world.job.path().join("000001");
    for folder in nest.ancestors().take_while(|folder| *folder != image) {
        give_to_user(folder);
    }
    let error = world.job.remove().unwrap_err();
    assert!(matches!(error, StoreError::TooMany { what: "levels", .. }), "{error}");
}

#[test]
fn the_log_is_no_link_or_fifo() {
    for fifo in [true, false] {
        let world = World::new();
        world.commit(1, &[]);
        let log = world.job.path().join("events.jsonl");
        if fifo {
            mkfifo(&log, Mode::from_bits_truncate(0o600)).unwrap();
        } else {
            symlink(world.folder.path().join("elsewhere"), &log).unwrap();
        }
        give_to_user(&log);
        let event = listing::event(stasis_contract::Step::Start);
        assert!(matches!(world.job.append_event(&event), Err(StoreError::NotAFile(_))));
        assert!(matches!(world.job.events(), Err(StoreError::NotAFile(_))));
        assert!(!world.folder.path().join("elsewhere").exists());
    }
}
