//! The command line of the simulator.

use stasis_sim::model::world;
use stasis_sim::scenario::Scenario;
use std::path::Path;

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let prepared = Scenario::parse(Path::new(&path), &text)
        .unwrap()
        .prepare(Path::new(&path).parent().unwrap())
        .unwrap();
    let t = std::time::Instant::now();
    let mut setup = prepared.setup(0);
    setup.explain = std::env::args().nth(2).map(|s| s.parse().unwrap());
    let out = world::run(&setup, &mut prepared.sessions(0).unwrap(), &mut prepared.jobs(0).unwrap()).unwrap();
    for l in &out.explained {
        println!("{l}");
    }
    let m = out.metrics;
    println!(
        "{:?} {} events {:.2} M/s",
        t.elapsed(),
        m.events,
        m.events as f64 / t.elapsed().as_secs_f64() / 1e6
    );
    for (k, v) in m.scalars() {
        println!("{k} {v}");
    }
    println!(
        "sessions {} stuck {} cells {} unfinished_h {}",
        m.sessions,
        m.sessions_stuck,
        m.cells,
        m.unfinished_ns as f64 / 3.6e12
    );
}
