//! Keeping the newest images, listing what there is, and the event log.

use super::*;
use stasis_contract::{Event, Step};
use std::io::Write;

pub(super) fn event(step: Step) -> Event {
    Event {
        at_unix_ms: 1,
        job_id: 42,
        restart_count: 0,
        node: "node1".into(),
        step,
        image: None,
        trigger: None,
        seconds: Some(0.5),
        bytes: None,
        message: None,
    }
}

#[test]
fn the_newest_images_are_kept() {
    let world = World::new();
    for number in 1..=5 {
        world.commit(number, &[("a", Compression::None, &[1; 1000])]);
    }
    std::fs::remove_file(world.path(4, "manifest")).unwrap();
    world.job.append_event(&event(Step::Start)).unwrap();
    let removed = world.job.retain(2).unwrap();
    assert_eq!(removed.folders, 3);
    assert_eq!(
        world.entries(),
        ["000003", "000005", "events.jsonl"],
        "an image without manifest is not one kept"
    );
    assert_eq!(world.job.next_number().unwrap(), 6);
    world.job.remove_image(5).unwrap();
    world.job.remove_image(5).unwrap();
    assert_eq!(world.entries(), ["000003", "events.jsonl"]);
    assert_eq!(world.job.remove().unwrap().folders, 2);
    assert!(!world.job.path().exists());
    assert_eq!(world.job.remove().unwrap(), crate::Removed::default());
}

#[test]
fn numbers_run_out_with_a_reason() {
    let world = World::new();
    world.commit(999_999, &[]);
    assert!(world.job.next_number().unwrap_err().to_string().contains("outside 1..=999999"));
}

#[test]
fn jobs_are_listed_with_their_sizes() {
    let world = World::new();
    let store = Store::open(&world.folder.path().join("store")).unwrap();
    assert!(store.list_for(1).unwrap().is_empty());
    let committed = world.commit(1, &[("a", Compression::None, &[1; 1000])]);
    let uid = world.job.uid();
    let mine = world.folder.path().join("store").join(uid.to_string());
    for junk in ["junk", "testbed/007", "testbed/x"] {
        std::fs::create_dir_all(mine.join(junk)).unwrap();
        give_to_user(&mine.join(junk));
    }
    std::fs::create_dir(world.folder.path().join("store/junk")).unwrap();
    let listing = store.list_all().unwrap();
    assert!(listing.unread.is_empty());
    for jobs in [listing.jobs, store.list_for(uid).unwrap()] {
        let found: Vec<_> =
            jobs.iter().map(|job| (job.uid(), job.cluster().to_owned(), job.job_id())).collect();
        assert_eq!(found, [(uid, "testbed".to_owned(), 42)]);
        let image = &jobs[0].images().unwrap()[0];
        let manifest = std::fs::metadata(world.path(1, "manifest")).unwrap().len();
        assert_eq!(image.stored_bytes().unwrap(), committed.manifest().stored_bytes() + manifest);
    }
}

#[test]
fn a_user_whose_part_cannot_be_read_is_told_beside_the_others() {
    if !have_root("a_user_whose_part_cannot_be_read_is_told_beside_the_others") {
        return;
    }
    let world = World::new();
    world.commit(1, &[]);
    let planted = world.folder.path().join("store/61998");
    std::fs::create_dir(&planted).unwrap();
    let listing = Store::open(&world.folder.path().join("store")).unwrap().list_all().unwrap();
    assert_eq!(listing.jobs.len(), 1);
    assert_eq!(listing.unread[0].0, 61_998);
}

#[test]
fn a_claim_is_shown_without_what_a_terminal_acts_on() {
    let world = World::new();
    world.commit(1, &[]);
    let path = world.path(1, "manifest");
    let text = std::fs::read_to_string(&path).unwrap().replace("node1", "\\u001b[2Jnode1");
    std::fs::write(&path, text).unwrap();
    let claims = world.job.images().unwrap()[0].peek().unwrap();
    assert_eq!(claims.claims().origin.node, "\u{fffd}[2Jnode1");
}

#[test]
fn events_are_appended_and_read_back() {
    let world = World::new();
    assert_eq!(world.job.events().unwrap(), crate::EventLog::default());
    let steps = [Step::Start, Step::Freeze, Step::Commit];
    for step in steps {
        world.job.append_event(&event(step)).unwrap();
    }
    let log = world.job.events().unwrap();
    assert_eq!(log.events, steps.map(event));
    assert_eq!((log.unreadable_lines, log.shortened), (0, false));
}

#[test]
fn a_torn_or_hostile_line_spoils_only_itself() {
    let world = World::new();
    world.job.append_event(&event(Step::Start)).unwrap();
    let path = world.job.path().join("events.jsonl");
    let append = |bytes: &[u8]| {
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(bytes).unwrap();
    };
    append(b"{\"at_unix_ms\": 17, \"jo");
    world.job.append_event(&event(Step::Freeze)).unwrap();
    append(b"\xff\xfe\n[[[[\n\n");
    append(&b"[".repeat(300_000));
    append(b"\n");
    let mut hostile = event(Step::Failure);
    hostile.message = Some("\u{1b}]0;pwned\u{7}".into());
    world.job.append_event(&hostile).unwrap();
    append(b"{\"torn");
    let log = world.job.events().unwrap();
    let steps: Vec<_> = log.events.iter().map(|event| event.step).collect();
    assert_eq!(steps, [Step::Start, Step::Freeze, Step::Failure]);
    assert_eq!(log.unreadable_lines, 5);
    assert_eq!(log.events[2].message.as_deref(), Some("\u{fffd}]0;pwned\u{fffd}"));
}

#[test]
fn of_a_log_without_end_the_end_is_read() {
    let world = World::new();
    world.job.append_event(&event(Step::Start)).unwrap();
    let path = world.job.path().join("events.jsonl");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    world.job.append_event(&event(Step::End)).unwrap();
    let log = world.job.events().unwrap();
    assert!(log.shortened);
    assert_eq!(log.events, [event(Step::End)]);
}
