//! Any bytes as a trace of spot availability.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::import::spot_json;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(trace) = spot_json::parse("fuzz".as_ref(), bytes) {
        assert_eq!(trace.iter_ticks().count() as u64, trace.ticks());
    }
});
