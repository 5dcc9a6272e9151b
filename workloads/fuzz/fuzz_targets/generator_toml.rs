//! Any text as a generator's specification, and the first sessions of what is accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::generate::{self, GeneratorSpec};

fuzz_target!(|text: &str| {
    let Ok(spec) = GeneratorSpec::parse("fuzz".as_ref(), text) else { return };
    // A session of a million cells is allowed, and too slow to fuzz.
    let Some(sessions) = spec.sessions.filter(|sessions| sessions.cells.median_cells < 100.0) else { return };
    for session in generate::sessions(&sessions, 1, 0).unwrap().take(3) {
        session.validate().unwrap();
    }
});
