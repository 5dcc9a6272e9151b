//! The models that peers are run beside (benches/sim_peers.py), timed here without the start of a process:
//!
//! - `easy FILE CORES`: EASY backfill on a job log (SWF); prints jobs per second.
//! - `toy PROCESSES EVENTS`: processes that each wait an exponential time, again and again; prints events
//!   per second.

use stasis_sim::engine::queue::Queue;
use stasis_sim::model::batch::simulate;
use stasis_sim::model::cluster::Discipline;
use stasis_workloads::Law;
use stasis_workloads::import::swf::SwfReader;
use stasis_workloads::streams::{Purpose, stream};
use std::path::Path;
use std::time::Instant;

const TOY: Purpose = Purpose::named("example/toy");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["easy", file, cores] => easy(Path::new(file), number(cores) as u32),
        ["toy", processes, events] => toy(number(processes), number(events)),
        _ => eprintln!("easy FILE CORES | toy PROCESSES EVENTS"),
    }
}

/// Reading the log is part of it, as it is for the peer.
fn easy(file: &Path, cores: u32) {
    let began = Instant::now();
    let (mut jobs, mut waited_s) = (0u64, 0.0);
    let log = SwfReader::open(file).expect("a job log");
    simulate(log, cores, Discipline::EasyBackfill, |outcome| {
        jobs += 1;
        waited_s += (outcome.start_ns - outcome.submit_ns) as f64 / 1e9;
    })
    .expect("a sound job log");
    let seconds = began.elapsed().as_secs_f64();
    println!("{{\"jobs\": {jobs}, \"seconds\": {seconds}, \"mean_wait_s\": {}}}", waited_s / jobs as f64);
}

fn toy(processes: u64, events: u64) {
    let law = Law::Exponential { mean_s: 1.0 };
    let mut draw = stream(1, 0, 0, TOY);
    let began = Instant::now();
    let mut queue = Queue::default();
    for process in 0..processes {
        queue.push(law.sample_ns(&mut draw), process);
    }
    let mut handled = 0;
    while let Some(entry) = queue.pop().filter(|_| handled < events) {
        handled += 1;
        queue.push(entry.at_ns + law.sample_ns(&mut draw), entry.what);
    }
    println!("{{\"events\": {handled}, \"seconds\": {}}}", began.elapsed().as_secs_f64());
}
