//! Any bytes as lives of preemptible machines, and a fit to what is accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::fit::fit_lifetime_trace;
use stasis_workloads::import::lifetimes::LifetimeReader;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = LifetimeReader::new("fuzz".as_ref(), bytes) {
        let _ = fit_lifetime_trace("fuzz".as_ref(), reader);
    }
});
