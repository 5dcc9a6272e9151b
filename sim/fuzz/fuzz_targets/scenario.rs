//! No text makes the scenario parser panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_sim::scenario::Scenario;
use std::path::Path;

fuzz_target!(|text: &str| {
    let _ = Scenario::parse(Path::new("fuzz.toml"), text);
});
