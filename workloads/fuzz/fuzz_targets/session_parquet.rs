//! Any bytes as a session trace in Parquet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::open_sessions;
use std::io::Write as _;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    if let Ok(sessions) = open_sessions(file.path()) {
        for session in sessions.map_while(Result::ok) {
            session.validate().unwrap();
        }
    }
});
