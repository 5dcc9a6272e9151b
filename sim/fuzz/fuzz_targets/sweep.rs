//! No text makes the sweep parser or its grid panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_sim::sweep::Sweep;
use std::path::Path;

const BASE: &str = include_str!("../../scenarios/small.toml");

fuzz_target!(|text: &str| {
    if let Ok(sweep) = Sweep::parse(Path::new("fuzz.toml"), text)
        && sweep.grid.values().map(Vec::len).product::<usize>() < 1000
    {
        let _ = sweep.cells(Path::new("base.toml"), BASE);
    }
});
