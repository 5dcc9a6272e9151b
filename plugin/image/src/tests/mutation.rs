//! An image in which anything is not as it was written is refused, with the reason.

use super::*;
use crate::chunk::CHUNK_BYTES;
use proptest::prelude::*;
use std::fs::{read, write};

const BIG: usize = 2 * CHUNK_BYTES + 1000;

fn sample(world: &World, number: u32) {
    let text = b"all happy sessions are alike ".repeat(90_000);
    let files: [(&str, Compression, &[u8]); 4] = [
        ("a.raw", Compression::None, &noise(BIG)),
        ("b.lz4", Compression::Lz4, &text),
        ("c.zstd", Compression::Zstd, &text),
        ("d.zeros", Compression::Lz4, &vec![0; BIG]),
    ];
    world.commit(number, &files);
}

/// That the image is refused, at the latest when it is read.
fn refused(world: &World, number: u32) -> Refusal {
    world.read(number).expect_err("must be refused")
}

impl From<Refusal> for std::io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

const FILES: [&str; 5] = ["a.raw", "b.lz4", "c.zstd", "d.zeros", "manifest"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn any_flipped_bit_is_found(which in 0..FILES.len(), at in any::<proptest::sample::Index>(), bit in 0..8u8) {
        let world = World::new();
        sample(&world, 1);
        let path = world.path(1, FILES[which]);
        let mut bytes = read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        write(&path, bytes).unwrap();
        refused(&world, 1);
    }

    #[test]
    fn any_truncation_and_extension_is_found(
        which in 0..FILES.len(),
        at in any::<proptest::sample::Index>(),
        more in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let world = World::new();
        sample(&world, 1);
        let path = world.path(1, FILES[which]);
        let bytes = read(&path).unwrap();
        if more.is_empty() {
            write(&path, &bytes[..at.index(bytes.len())]).unwrap();
        } else {
            write(&path, [bytes, more].concat()).unwrap();
        }
        refused(&world, 1);
    }

    #[test]
    fn any_other_manifest_is_refused(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let world = World::new();
        world.commit(1, &[("a", Compression::Lz4, b"a")]);
        write(world.path(1, "manifest"), text).unwrap();
        refused(&world, 1);
        let _ = world.job.images().unwrap()[0].peek();
    }
}

#[test]
fn every_bit_of_the_first_line_counts() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"a")]);
    let path = world.path(1, "manifest");
    let whole = read(&path).unwrap();
    let line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 2;
    for at in (0..line).chain(whole.len() - 2..whole.len()) {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            write(&path, &bytes).unwrap();
            refused(&world, 1);
        }
    }
    write(&path, &whole).unwrap();
    world.read(1).unwrap();
}

#[test]
fn reasons_are_told() {
    let check = |change: &dyn Fn(&World), reason: &str| {
        let world = World::new();
        sample(&world, 1);
        change(&world);
        let refusal = refused(&world, 1).to_string();
        assert!(refusal.contains(reason), "{refusal}");
    };
    let cut = |name: &'static str| {
        move |world: &World| {
            let path = world.path(1, name);
            let bytes = read(&path).unwrap();
            write(&path, &bytes[..bytes.len() - 1]).unwrap();
        }
    };
    check(&cut("a.raw"), "a.raw is truncated: 2098271 of 2098272 bytes");
    check(&|world| std::fs::remove_file(world.path(1, "b.lz4")).unwrap(), "its file b.lz4 is missing");
    check(&|world| write(world.path(1, "b.lz4"), vec![0; 1 << 22]).unwrap(), "b.lz4 was extended");
    let flip = |name: &'static str, at: usize| {
        move |world: &World| {
            let path = world.path(1, name);
            let mut bytes = read(&path).unwrap();
            let at = if at == usize::MAX { bytes.len() - 1 } else { at };
            bytes[at] ^= 1;
            write(&path, bytes).unwrap();
        }
    };
    check(&flip("a.raw", CHUNK_BYTES), "chunk 1 of a.raw is not what was written");
    check(&flip("c.zstd", usize::MAX), "the chunk table of c.zstd is not what was written");
    check(&flip("manifest", 200), "its manifest is not what was written");
    check(&flip("manifest", 0), "its manifest is damaged: it does not begin with");
    check(&cut("manifest"), "its manifest is damaged: its last line is cut off");
    let replace = |from: &'static str, to: &'static str| {
        move |world: &World| {
            let path = world.path(1, "manifest");
            let text = String::from_utf8(read(&path).unwrap()).unwrap();
            assert!(text.contains(from));
            write(&path, text.replacen(from, to, 1)).unwrap();
        }
    };
    check(&replace("stasis-image 1 ", "stasis-image 2 "), "it has format 2, and this release reads format 1");
    check(&replace("stasis-image 1 ", "stasis-image 0 "), "there is no format 0");
    check(&replace("stasis-image 1 ", "stasis-image 01 "), "its manifest is not what was written");
    check(&replace("\"uid\": 6", "\"uid\": 7"), "its manifest is not what was written");
}

#[test]
fn a_manifest_without_end_does_not_fill_the_memory() {
    let world = World::new();
    world.commit(1, &[("a", Compression::Lz4, b"a")]);
    let file = std::fs::OpenOptions::new().write(true).open(world.path(1, "manifest")).unwrap();
    file.set_len(1 << 40).unwrap();
    let refusal = refused(&world, 1).to_string();
    assert!(refusal.contains("more than 16777216 bytes"), "{refusal}");
}

#[test]
fn even_an_authentic_manifest_cannot_name_what_is_not_in_its_folder() {
    let world = World::new();
    let manifest =
        world.commit(1, &[("a", Compression::Lz4, b"a"), ("b", Compression::Lz4, b"b")]).manifest().clone();
    for names in [["a", "../b"], ["/etc/passwd", "b"], ["a", "a"], ["b", "a"], ["", "b"], ["a", "manifest"]] {
        let mut changed = manifest.clone();
        for (file, name) in changed.files.iter_mut().zip(names) {
            file.name = name.into();
        }
        write(world.path(1, "manifest"), crate::seal::write(&changed, &world.key)).unwrap();
        let refusal = world.open(1).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Malformed(text) if text.contains("not plain, sorted")),
            "{refusal}"
        );
    }
    write(world.path(1, "manifest"), crate::seal::write(&manifest, &world.key)).unwrap();
    world.read(1).unwrap();
}

#[test]
fn chunks_and_files_cannot_change_places() {
    let world = World::new();
    let (one, two) = (noise(BIG), noise(BIG + 1)[1..].to_vec());
    for number in [1, 2] {
        world.commit(number, &[("a", Compression::None, &one), ("b", Compression::None, &two)]);
    }
    let a = read(world.path(1, "a")).unwrap();
    let b = read(world.path(1, "b")).unwrap();
    let exchange = |left: &[u8], right: &[u8]| {
        write(world.path(1, "a"), left).unwrap();
        write(world.path(1, "b"), right).unwrap();
    };
    // Two files of one image.
    exchange(&b, &a);
    assert!(matches!(refused(&world, 1), Refusal::Edited(_)));
    // Two chunks of one file, with their entries in its table.
    let (first, rest) = a.split_at(CHUNK_BYTES);
    let (second, rest) = rest.split_at(CHUNK_BYTES);
    exchange(&[second, first, rest].concat(), &b);
    assert!(matches!(refused(&world, 1), Refusal::Edited(_)));
    let table = a.len() - 120;
    let moved = [
        second,
        first,
        &a[2 * CHUNK_BYTES..table],
        &a[table + 40..table + 80],
        &a[table..table + 40],
        &a[table + 80..],
    ];
    exchange(&moved.concat(), &b);
    assert!(matches!(refused(&world, 1), Refusal::Edited(_)));
    // The same file, with the same content, of another image.
    exchange(&read(world.path(2, "a")).unwrap(), &b);
    assert!(matches!(refused(&world, 1), Refusal::Edited(_)));
    exchange(&a, &b);
    world.read(1).unwrap();
    // Another image's whole manifest.
    std::fs::copy(world.path(2, "manifest"), world.path(1, "manifest")).unwrap();
    assert!(matches!(refused(&world, 1), Refusal::ForeignNumber { found: 2, expected: 1 }));
}

/// Copies an image, as its owner would.
fn copy_image(from: &World, number: u32, to: &World, as_number: u32) {
    let target = to.job.path().join(format!("{as_number:06}"));
    std::fs::create_dir_all(&target).unwrap();
    let store = to.folder.path().join("store");
    for folder in target.ancestors().take_while(|folder| *folder != store) {
        give_to_user(folder);
    }
    for entry in from.job.path().join(format!("{number:06}")).read_dir().unwrap() {
        let entry = entry.unwrap();
        let copy = target.join(entry.file_name());
        std::fs::copy(entry.path(), &copy).unwrap();
        give_to_user(&copy);
    }
}

#[test]
fn an_image_of_elsewhere_is_refused() {
    let from = World::new();
    sample(&from, 1);
    let elsewhere = |cluster: &str, job_id: u32, user: User| {
        let mut world = World::new();
        world.job =
            Store::open(&world.folder.path().join("store")).unwrap().job(cluster, job_id, user).unwrap();
        world
    };
    let same = elsewhere("testbed", 42, user());
    copy_image(&from, 1, &same, 1);
    same.read(1).unwrap();
    let other_cluster = elsewhere("other", 42, user());
    copy_image(&from, 1, &other_cluster, 1);
    let refusal = refused(&other_cluster, 1);
    assert!(matches!(&refusal, Refusal::ForeignCluster { found, .. } if found == "testbed"), "{refusal}");
    let other_job = elsewhere("testbed", 43, user());
    copy_image(&from, 1, &other_job, 1);
    let refusal = refused(&other_job, 1);
    assert!(matches!(refusal, Refusal::ForeignJob { found: 42, expected: 43 }), "{refusal}");
    copy_image(&from, 1, &same, 3);
    let refusal = refused(&same, 3);
    assert!(matches!(refusal, Refusal::ForeignNumber { found: 1, expected: 3 }), "{refusal}");
}

#[test]
fn an_image_of_another_user_run_or_key_is_refused() {
    let world = World::new();
    sample(&world, 1);
    let image = &world.job.images().unwrap()[0];
    let right = world.expected();
    let refusal = image.open(&world.key, &Expected { uid: 1, ..right.clone() }).unwrap_err();
    assert!(matches!(refusal, Refusal::ForeignUser { expected: 1, .. }), "{refusal}");
    let refusal = image.open(&world.key, &Expected { gid: Some(1), ..right.clone() }).unwrap_err();
    assert!(matches!(refusal, Refusal::ForeignGroup { expected: 1, .. }), "{refusal}");
    image.open(&world.key, &Expected { gid: None, ..right.clone() }).unwrap();
    let refusal = image.open(&world.key, &Expected { restart_count: 0, ..right.clone() }).unwrap_err();
    assert!(matches!(refusal, Refusal::NotEarlier { found: 0, run: 0 }), "{refusal}");
    let refusal = image.open(&Key::for_tests(2), &right).unwrap_err();
    assert!(matches!(refusal, Refusal::Edited(_)), "{refusal}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused_then() {
    let world = World::new();
    sample(&world, 1);
    let verified = world.open(1).unwrap();
    let file = verified.file("a.raw").unwrap();
    let mut reader = crate::ChunkReader::default();
    let mut chunk = |index| {
        let mut content = Vec::new();
        file.chunk(index, &mut reader, &mut content).map(|()| content)
    };
    assert_eq!(chunk(0).unwrap().len(), CHUNK_BYTES);
    let path = world.path(1, "a.raw");
    let mut bytes = read(&path).unwrap();
    bytes[5] ^= 1;
    write(&path, &bytes).unwrap();
    assert!(matches!(chunk(0), Err(Refusal::Edited(_))));
    assert_eq!(chunk(1).unwrap().len(), CHUNK_BYTES);
    write(&path, &bytes[..10]).unwrap();
    assert!(matches!(chunk(1), Err(Refusal::Truncated { found: 10, .. })));
    assert!(chunk(3).is_err());
    assert!(matches!(verified.file("no-such-file"), Err(Refusal::Missing(_))));
}

#[test]
fn chunks_are_read_in_any_order() {
    let world = World::new();
    let content = noise(BIG);
    world.commit(1, &[("a", Compression::Lz4, &content)]);
    let file = world.open(1).unwrap().file("a").unwrap();
    let mut reader = crate::ChunkReader::default();
    let mut chunk = |index| {
        let mut content = Vec::new();
        file.chunk(index, &mut reader, &mut content).map(|()| content)
    };
    assert_eq!(file.chunk_count(), 3);
    for index in [2, 0, 1] {
        let begin = index as usize * CHUNK_BYTES;
        let expected = &content[begin..BIG.min(begin + CHUNK_BYTES)];
        assert!(chunk(index).unwrap() == expected);
    }
}
