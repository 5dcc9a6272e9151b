//! What goes in comes out, whatever it is.

use super::*;
use crate::chunk::CHUNK_BYTES;
use nix::fcntl::{FcntlArg, fcntl};
use proptest::prelude::*;
use std::io::{Read, Write};

const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

/// Content of each kind that chunks differ by: noise, text, zeros, and these in turn.
fn content(kind: u8, length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let byte = |at: usize| match (kind, at / 300_000 % 3) {
        (0, _) | (3, 0) => noise(),
        (1, _) | (3, 1) => b"all happy sessions are alike "[at % 29],
        _ => 0,
    };
    (0..length).map(byte).collect()
}

fn check(world: &World, number: u32, files: &[(&str, Compression, &[u8])]) {
    let committed = world.commit(number, files);
    let newest = &world.job.images().unwrap()[0];
    assert_eq!(newest.number(), number);
    let verified = newest.open(&world.key, &world.expected()).unwrap();
    assert_eq!(verified.manifest(), committed.manifest());
    assert_eq!(newest.peek().unwrap().claims(), committed.manifest());
    let total: usize = files.iter().map(|(_, _, content)| content.len()).sum();
    assert_eq!(read(&verified).unwrap(), total as u64);
    for (name, _, content) in files {
        let mut streamed = Vec::new();
        verified.reader(name).unwrap().read_to_end(&mut streamed).unwrap();
        assert!(streamed == *content, "{name} streamed");
    }
}

#[test]
fn every_size_around_a_chunk_comes_back() {
    let world = World::new();
    let sizes =
        [0, 1, 4095, 65_537, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES, 7_000_001];
    let mut number = 0;
    for compression in ALL {
        for kind in 0..4 {
            number += 1;
            let contents: Vec<_> = sizes.map(|size| (format!("f{size}"), content(kind, size))).into();
            let files: Vec<_> =
                contents.iter().map(|(name, content)| (&**name, compression, &**content)).collect();
            check(&world, number, &files);
        }
    }
}

#[test]
fn an_image_may_have_no_files() {
    check(&World::new(), 1, &[]);
}

/// Gives its content in pieces, as a pipe does.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(self.0.len()).min(out.len());
        let (now, later) = self.0.split_at(length);
        out[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

#[test]
fn several_files_are_written_at_once_from_pipes() {
    let world = World::new();
    let contents: Vec<_> =
        (0..12u8).map(|i| (format!("pages-{i:02}.img"), content(i % 4, 900_000 * usize::from(i)))).collect();
    let staged = world.job.begin(1, &world.key).unwrap();
    std::thread::scope(|scope| {
        for (name, content) in &contents {
            let staged = &staged;
            scope.spawn(move || staged.add(name, Compression::Lz4, Pieces(content, 65_536)).unwrap());
        }
    });
    staged.commit(world.origin(1), session()).unwrap();
    let verified = world.job.images().unwrap()[0].open(&world.key, &world.expected()).unwrap();
    for (name, content) in &contents {
        let mut back = Vec::new();
        verified.reader(name).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == *content, "{name}");
    }
}

#[test]
fn more_files_are_interleaved_by_one_thread_than_the_pool_has_room_for() {
    let world = World::new();
    let staged = world.job.begin(1, &world.key).unwrap();
    let mut writers: Vec<_> =
        (0..60).map(|i| staged.file(&format!("f{i:02}"), Compression::Lz4).unwrap()).collect();
    let piece = content(0, 700_000);
    for _ in 0..3 {
        for writer in &mut writers {
            writer.write_all(&piece).unwrap();
        }
    }
    for writer in writers {
        assert_eq!(writer.finish().unwrap().bytes, 2_100_000);
    }
    staged.commit(world.origin(1), session()).unwrap();
    let verified = world.job.images().unwrap()[0].open(&world.key, &world.expected()).unwrap();
    assert_eq!(read(&verified).unwrap(), 60 * 2_100_000);
}

/// Reads a pipe to its end, by and by, while the file is poured into it.
fn poured(verified: &VerifiedManifest, name: &str, piece: usize) -> Vec<u8> {
    let (mut reading, writing) = std::io::pipe().unwrap();
    let pipe = std::fs::File::from(std::os::fd::OwnedFd::from(writing));
    // The more lies in the pipe, the more is lost if its memory is used again too early.
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || verified.reader(name).unwrap().pour_into(&pipe).unwrap());
        let (mut content, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            // The other side gets ahead as far as the pipe lets it.
            std::thread::yield_now();
            match reading.read(&mut buffer).unwrap() {
                0 => return content,
                count => content.extend(&buffer[..count]),
            }
        }
    })
}

#[test]
fn what_is_poured_into_a_pipe_is_read_from_it() {
    let world = World::new();
    let mut contents = Vec::new();
    for (at, size) in
        [0, 1, 70_000, CHUNK_BYTES, 3 * CHUNK_BYTES, 40 * CHUNK_BYTES + 5].into_iter().enumerate()
    {
        contents.push((format!("noise-{at}"), content(0, size)));
        contents.push((format!("turns-{at}"), content(3, size)));
    }
    let files: Vec<_> =
        contents.iter().map(|(name, content)| (&**name, Compression::Lz4, &**content)).collect();
    world.commit(1, &files);
    let verified = world.job.images().unwrap()[0].open(&world.key, &world.expected()).unwrap();
    for (name, content) in &contents {
        for piece in [5000, 1 << 20] {
            assert!(poured(&verified, name, piece) == *content, "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn a_pipe_that_nobody_reads_ends_the_pouring() {
    let world = World::new();
    world.commit(1, &[("a", Compression::None, &content(0, 9 * CHUNK_BYTES))]);
    let verified = world.job.images().unwrap()[0].open(&world.key, &world.expected()).unwrap();
    let (reading, writing) = std::io::pipe().unwrap();
    let pipe = std::fs::File::from(std::os::fd::OwnedFd::from(writing));
    drop(reading);
    let error = verified.reader("a").unwrap().pour_into(&pipe).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_content_comes_back(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        repeat in 0usize..2000,
        piece in 1usize..3_000_000,
        which in 0usize..3,
    ) {
        let world = World::new();
        let content = bytes.repeat(repeat);
        let staged = world.job.begin(1, &world.key).unwrap();
        let entry = staged.add("a", ALL[which], Pieces(&content, piece)).unwrap();
        prop_assert_eq!(entry.bytes, content.len() as u64);
        staged.commit(world.origin(1), session()).unwrap();
        let verified = world.job.images().unwrap()[0].open(&world.key, &world.expected()).unwrap();
        let mut back = Vec::new();
        verified.reader("a").unwrap().read_to_end(&mut back).unwrap();
        prop_assert!(back == content);
    }
}
