//! How fast one core replays sessions: `cargo run --release -p stasis-sim --example replay_speed [LIVE]`
//! holds LIVE sessions (100,000 unless told) alive at once, each running a cell every few minutes, and
//! prints events per second. The sessions are made before the clock starts.

use stasis_sim::model::world;
use stasis_sim::scenario::Scenario;
use stasis_workloads::streams::{Purpose, stream};
use stasis_workloads::{Interval, MemoryStep, NS_PER_S, Request, Session};
use std::path::Path;
use std::time::Instant;

const CELLS: u64 = 40;
const DRAW: Purpose = Purpose::named("example/cells");

fn session(id: u64) -> Session {
    let mut draw = stream(1, 0, id, DRAW);
    // All are submitted within a minute.
    let submit_ns = id * 600_000;
    let mut at_ns = submit_ns;
    let busy: Vec<Interval> = (0..CELLS)
        .map(|_| {
            let start_ns = at_ns + draw.below(300 * NS_PER_S);
            at_ns = start_ns + 1 + draw.below(40 * NS_PER_S);
            Interval { start_ns, end_ns: at_ns }
        })
        .collect();
    Session {
        id,
        user: id as u32,
        submit_ns,
        end_ns: at_ns + 1 + draw.below(NS_PER_S),
        request: Request { cores_milli: 2000, gpus: 0, memory_bytes: 8_000_000_000 },
        busy: busy.into(),
        memory: Box::new([MemoryStep { at_ns: submit_ns, bytes: 1_000_000_000 }]),
        connected: Box::default(),
    }
}

fn main() {
    let live: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let text = include_str!("../scenarios/small.toml");
    let scenario = Scenario::parse(Path::new("small.toml"), text).expect("the bundled scenario");
    let setup = scenario.prepare(Path::new(".")).expect("nothing to read").setup(0);
    let mut sessions: Vec<_> = (0..live).map(|id| Ok(session(id))).collect();
    sessions.sort_by_key(|session| session.as_ref().map_or(0, |session: &Session| session.submit_ns));
    let began = Instant::now();
    let outcome =
        world::run(&setup, &mut sessions.into_iter(), &mut std::iter::empty()).expect("no reader to fail");
    let seconds = began.elapsed().as_secs_f64();
    let events = outcome.metrics.events;
    println!(
        "{live} live sessions: {events} events in {seconds:.2} s, {:.2} million events/s on one core",
        events as f64 / seconds / 1e6
    );
}
