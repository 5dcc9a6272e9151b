//! Any bytes as a session trace in Parquet. The decoder's own panics are caught by the reader and so are no
//! findings here; libFuzzer's hook, which would abort on them, is replaced. A panic that gets out still ends
//! the run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::open_sessions;
use std::io::Write as _;

fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    if let Ok(sessions) = open_sessions(file.path()) {
        for session in sessions.map_while(Result::ok) {
            session.validate().unwrap();
        }
    }
});
