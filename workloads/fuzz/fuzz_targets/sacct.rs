//! Any bytes as output of `sacct --parsable2`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stasis_workloads::import::sacct::SacctReader;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = SacctReader::new("fuzz".as_ref(), bytes, 0) {
        reader.map_while(Result::ok).for_each(|job| assert!(job.processors > 0));
    }
});
