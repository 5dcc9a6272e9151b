//! What the engine is made of, by itself: the event queue under a hold model, the scheduler with a deep
//! queue, and the store with many flows. Run with `cargo bench -p stasis-sim`.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stasis_sim::engine::queue::Queue;
use stasis_sim::engine::store::{Direction, Store};
use stasis_sim::model::batch::simulate;
use stasis_sim::model::cluster::Discipline;
use stasis_workloads::generate::{ArrivalSpec, JobSpec, jobs};
use stasis_workloads::streams::{Purpose, stream};
use stasis_workloads::{Job, Law};
use std::hint::black_box;

const DRAW: Purpose = Purpose::named("bench/draw");

/// Pop one, push one some time later: the pending count stays.
fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("event queue: pop and push");
    for pending in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let mut draw = stream(1, 0, pending, DRAW);
        let mut queue = Queue::default();
        for what in 0..pending {
            queue.push(draw.below(1 << 30), what);
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(pending), |b| {
            b.iter(|| {
                if let Some(entry) = queue.pop() {
                    queue.push(entry.at_ns + 1 + draw.below(1 << 30), black_box(entry.what));
                }
            });
        });
    }
    group.finish();
}

fn backfill(c: &mut Criterion) {
    let spec = JobSpec {
        arrivals: ArrivalSpec {
            length_days: 10.0,
            per_day: 1000.0,
            users: 10,
            hourly_weights: Vec::new(),
            daily_weights: Vec::new(),
        },
        run: Law::LogNormal { median_s: 1800.0, sigma: 1.3 },
        processors_max: 64,
        overestimate_max: 4.0,
    };
    let log: Vec<Job> = jobs(&spec, 1, 0).map(Iterator::collect).unwrap_or_default();
    let mut group = c.benchmark_group("scheduler: jobs");
    group.throughput(Throughput::Elements(log.len() as u64));
    for (name, discipline) in [("fifo", Discipline::Fifo), ("easy", Discipline::EasyBackfill)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                simulate(log.iter().copied().map(Ok), 256, discipline, |outcome| {
                    black_box(outcome);
                })
            });
        });
    }
    group.finish();
}

/// So many flows start within a second and are all served.
fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group("store: flows");
    for flows in [10_u32, 1_000, 100_000] {
        group.throughput(Throughput::Elements(u64::from(flows)));
        group.bench_function(BenchmarkId::from_parameter(flows), |b| {
            b.iter_batched(
                || (Store::new(2e9, 4e8, 3e8), stream(1, 0, 0, DRAW)),
                |(mut store, mut draw)| {
                    for owner in 0..flows {
                        let direction = if draw.chance(0.5) { Direction::Write } else { Direction::Read };
                        let at_ns = u64::from(owner) * 1_000_000_000 / u64::from(flows);
                        store.start(at_ns, direction, draw.below(1 << 30), owner);
                    }
                    while let Some(at_ns) = store.next_done_ns() {
                        while store.pop_done(at_ns).is_some() {}
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, queue, backfill, store);
criterion_main!(benches);
