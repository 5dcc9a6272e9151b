//! A key that anybody but root could know or choose is not used.

use super::*;
use crate::KeyError;

#[test]
fn a_new_key_is_private_random_and_loads() {
    if !have_root("a_new_key_is_private_random_and_loads") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    Key::create(&one).unwrap();
    Key::create(&two).unwrap();
    assert_ne!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert_eq!(format!("{:?}", Key::load(&one).unwrap()), "Key(..)");
    let before = std::fs::read(&one).unwrap();
    assert!(matches!(Key::create(&one), Err(KeyError::Io { verb: "create", .. })));
    assert_eq!(std::fs::read(&one).unwrap(), before);
}

#[test]
fn a_key_that_others_know_or_choose_is_refused() {
    if !have_root("a_key_that_others_know_or_choose_is_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    assert!(matches!(Key::load(&path), Err(KeyError::Missing(_))));
    Key::create(&path).unwrap();
    for mode in [0o440, 0o404, 0o640, 0o700, 0o4400] {
        set_mode(&path, mode);
        let error = Key::load(&path).unwrap_err();
        assert!(matches!(error, KeyError::Mode { .. }), "{error}");
    }
    set_mode(&path, 0o600);
    Key::load(&path).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(Key::load(&link), Err(KeyError::NotAFile(_))));
    assert!(matches!(Key::load(folder.path()), Err(KeyError::NotAFile(_))));
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(Key::load(&fifo), Err(KeyError::NotAFile(_))));
    give_to(&path, UID);
    assert!(matches!(Key::load(&path), Err(KeyError::Owner { owner: UID, .. })));
}

#[test]
fn what_is_no_key_is_refused_without_being_shown() {
    if !have_root("what_is_no_key_is_refused_without_being_shown") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let secret = "5ec2e7".repeat(20);
    for text in [
        "",
        "00",
        &secret[..63],
        &secret[..65],
        &format!("{}\n\n", &secret[..64]),
        &format!("{}+", &secret[..63]),
    ] {
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        let error = Key::load(&path).unwrap_err();
        assert!(matches!(error, KeyError::Content(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("5ec2e7"));
    }
    std::fs::write(&path, &secret[..64]).unwrap();
    Key::load(&path).unwrap();
}
