//! How fast images are written, committed, and streamed, by kind of content and compression.
//!
//! Run with `cargo bench -p stasis-image`, as root, since a key file is root's. The store is made in the
//! temporary folder, or in the folder that STASIS_BENCH_STORE names. The table in the crate's documentation
//! comes from here.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stasis_contract::{Compression, Origin, SessionState, Trigger};
use stasis_image::{Expected, Job, Key, Store, User};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of content of each image.
const CONTENT_BYTES: usize = 256 << 20;
const UID: u32 = 61_234;

/// Bytes that no compressor shortens.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut content = vec![0; length];
    for word in content.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    content
}

/// Machine code and tables: this program itself, again and again, which is longer than a compressor looks back.
fn code(length: usize) -> Vec<u8> {
    let program = std::fs::read("/proc/self/exe").expect("a program can read itself");
    program.into_iter().cycle().take(length).collect()
}

/// What a session's memory is made of: arrays of numbers, code and objects, and pages never written.
fn session(length: usize) -> Vec<u8> {
    let (noise, code) = (noise(length / 4), code(length / 4));
    let mut content = noise;
    content.extend(code);
    content.extend((0..length / 32).flat_map(|number| (number as u64).to_le_bytes()));
    content.resize(length, 0);
    content
}

fn origin(image: u32) -> Origin {
    Origin {
        cluster: "bench".into(),
        job_id: 1,
        uid: UID,
        gid: UID,
        image,
        restart_count: 0,
        created_unix_ms: 0,
        node: String::new(),
        kernel: String::new(),
        cpu_features: Vec::new(),
        trigger: Trigger::Request,
    }
}

fn state() -> SessionState {
    SessionState {
        root_pid: 1,
        pids: Vec::new(),
        stdout_pipe: 0,
        stderr_pipe: 0,
        ports: Vec::new(),
        resident_bytes: 0,
        trees: Vec::new(),
    }
}

/// Writes and commits one image; returns the time until all was poured, and until it was committed.
fn write(job: &Job, key: &Key, content: &[u8], compression: Compression) -> (Duration, Duration, u64) {
    let number = job.next_number().unwrap();
    let begin = Instant::now();
    let staged = job.begin(number, key).unwrap();
    staged.add("pages.img", compression, content).unwrap();
    let poured = begin.elapsed();
    let committed = staged.commit(origin(number), state()).unwrap();
    (poured, begin.elapsed(), committed.manifest().stored_bytes())
}

fn read(criterion: &mut Criterion, job: &Job, key: &Key, id: &str) {
    let expected = Expected { cluster: "bench".into(), job_id: 1, uid: UID, gid: None, restart_count: 1 };
    let image = job.images().unwrap().remove(0).open(key, &expected).unwrap();
    let mut group = criterion.benchmark_group("read");
    group.sample_size(10).throughput(Throughput::Bytes(CONTENT_BYTES as u64));
    group.bench_function(BenchmarkId::new("stream", id), |bencher| {
        bencher
            .iter(|| std::io::copy(&mut image.reader("pages.img").unwrap(), &mut std::io::sink()).unwrap());
    });
    group.finish();
}

/// A store for the benches, a job in it, and a folder to unpack into.
struct World {
    folder: tempfile::TempDir,
    key: Key,
    job: Job,
}

impl World {
    fn new() -> Self {
        let place = std::env::var_os("STASIS_BENCH_STORE").map_or_else(std::env::temp_dir, Into::into);
        let folder = tempfile::tempdir_in(place).unwrap();
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        set_mode(folder.path(), 0o1777);
        let key_path = folder.path().join("key");
        Key::create(&key_path).unwrap();
        let key = Key::load(&key_path).expect("run this as root: a key must be root's");
        let user = User { uid: UID, gid: UID, groups: Vec::new() };
        let job = Store::open(folder.path()).unwrap().job("bench", 1, user).unwrap();
        Self { folder, key, job }
    }
}

fn contents() -> [(&'static str, Vec<u8>); 4] {
    let length = CONTENT_BYTES;
    [
        ("zeros", vec![0; length]),
        ("noise", noise(length)),
        ("code", code(length)),
        ("session", session(length)),
    ]
}

const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

/// Seconds that this process's threads spent computing, in user and kernel mode.
fn core_seconds() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .iter()
        .sum()
}

/// Best of three: content per core-second in GB/s. It says what a core can do, also while others use it.
fn per_core(mut work: impl FnMut()) -> f64 {
    let one = |()| {
        let begin = core_seconds();
        work();
        CONTENT_BYTES as f64 / 1e9 / (core_seconds() - begin).max(1e-4)
    };
    [(); 3].map(one).into_iter().fold(0.0, f64::max)
}

/// Prints the table of the crate's documentation. `cargo bench -p stasis-image -- table` does only this.
fn table(_: &mut Criterion) {
    let world = World::new();
    let expected = Expected { cluster: "bench".into(), job_id: 1, uid: UID, gid: None, restart_count: 1 };
    println!("| content | compression | stored | write | stream |\n|---|---|---|---|---|");
    for (kind, content) in &contents() {
        for compression in ALL {
            let mut stored = 0;
            let written = per_core(|| stored = write(&world.job, &world.key, content, compression).2);
            world.job.retain(1).unwrap();
            let image = world.job.images().unwrap().remove(0).open(&world.key, &expected).unwrap();
            let streamed = per_core(|| {
                std::io::copy(&mut image.reader("pages.img").unwrap(), &mut std::io::sink()).unwrap();
            });
            let (name, stored) =
                (format!("{compression:?}").to_lowercase(), stored as f64 / CONTENT_BYTES as f64);
            println!("| {kind} | {name} | {stored:.3} | {written:.2} | {streamed:.2} |");
        }
    }
    world.job.remove().unwrap();
}

fn throughput(criterion: &mut Criterion) {
    let World { folder, key, job } = World::new();
    for (kind, content) in &contents() {
        for compression in ALL {
            let id = format!("{kind}/{compression:?}").to_lowercase();
            // There must be an image to read, also when the writing is filtered out.
            write(&job, &key, content, compression);
            for committed in [false, true] {
                let mut group = criterion.benchmark_group(if committed { "write+commit" } else { "write" });
                group.sample_size(10).throughput(Throughput::Bytes(CONTENT_BYTES as u64));
                group.bench_function(&id, |bencher| {
                    bencher.iter_custom(|count| {
                        let once = |_| {
                            let (poured, whole, _) = write(&job, &key, content, compression);
                            job.retain(1).unwrap();
                            if committed { whole } else { poured }
                        };
                        (0..count).map(once).sum()
                    });
                });
                group.finish();
            }
            job.retain(1).unwrap();
            read(criterion, &job, &key, &id);
        }
    }
    job.remove().unwrap();
    drop(folder);
}

criterion_group!(benches, table, throughput);
criterion_main!(benches);
