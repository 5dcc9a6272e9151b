//! No event log makes the calibration panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_sim::calibrate::calibrate;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let _ = calibrate(Path::new("fuzz.jsonl"), bytes);
});
