//! Any bytes as a session trace; what is accepted must be valid and survive being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::format::session_csv::{SessionReader, write_header, write_session};

fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = SessionReader::new("fuzz".as_ref(), bytes) else { return };
    let sessions: Vec<_> = reader.map_while(Result::ok).collect();
    let mut again = Vec::new();
    write_header(&mut again).unwrap();
    for session in &sessions {
        session.validate().unwrap();
        write_session(&mut again, session).unwrap();
    }
    let read: Vec<_> =
        SessionReader::new("again".as_ref(), &again[..]).unwrap().map(Result::unwrap).collect();
    assert!(read == sessions);
});
