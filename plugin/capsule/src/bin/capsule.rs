//! `stasis-capsule`: what a capsule needs a process of its own for. The shepherd and CRIU start it; nobody types it.
//!
//! It is started a dozen times while a session waits to be restored, so it is linked to nothing that takes time to load.

use std::process::ExitCode;

fn main() -> ExitCode {
    stasis_capsule::entry::dispatch()
}
