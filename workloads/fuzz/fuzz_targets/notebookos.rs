//! Any bytes as NotebookOS training events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::import::notebookos::{NotebookosReader, Options};

fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = NotebookosReader::new("fuzz".as_ref(), bytes, Options::default()) else { return };
    for session in reader.map_while(Result::ok) {
        session.validate().unwrap();
    }
});
