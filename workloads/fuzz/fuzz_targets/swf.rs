//! Any bytes as a log in Standard Workload Format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::import::jobs_as_sessions;
use stasis_workloads::import::swf::SwfReader;

fuzz_target!(|bytes: &[u8]| {
    for session in
        jobs_as_sessions("fuzz".as_ref(), SwfReader::new("fuzz".as_ref(), bytes)).map_while(Result::ok)
    {
        session.validate().unwrap();
    }
});
