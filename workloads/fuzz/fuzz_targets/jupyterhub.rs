//! Any bytes as a log of JupyterHub.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::import::jupyterhub::{HubReader, Options};

fuzz_target!(|bytes: &[u8]| {
    for session in HubReader::new("fuzz".as_ref(), bytes, Options::default()).map_while(Result::ok) {
        session.validate().unwrap();
    }
});
