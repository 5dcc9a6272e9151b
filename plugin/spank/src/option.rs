//! The option `--stasis[=key=value,...]`.

use crate::boundary::guard;
use crate::config::site;
use slurm_spank::spank_sys::spank_option;
use stasis_contract::{JobSpec, UserOptions};
use std::ffi::{c_char, c_int, CStr};
use std::sync::Mutex;

/// What the option asked for; `None` for a job that did not ask.
static SPEC: Mutex<Option<JobSpec>> = Mutex::new(None);

/// `has_arg` of getopt_long(3) for a value that may be left out.
const OPTIONAL_ARGUMENT: c_int = 2;

/// The option as Slurm is told of it. Its texts are constants, and Slurm copies them.
pub(crate) fn definition() -> spank_option {
    spank_option {
        name: c"stasis".as_ptr(),
        arginfo: c"[key=value,...]".as_ptr(),
        usage:
            c"checkpoint on preemption, restore elsewhere; keys: grace, interval, store, keep, port, compress"
                .as_ptr(),
        has_arg: OPTIONAL_ARGUMENT,
        val: 0,
        cb: Some(on_option),
    }
}

/// What the job asked for.
pub(crate) fn spec() -> Option<JobSpec> {
    SPEC.lock().ok()?.clone()
}

/// Slurm calls this once per use of the option, in sbatch and again in slurmstepd.
extern "C" fn on_option(_value: c_int, argument: *const c_char, _remote: c_int) -> c_int {
    guard(|_| Ok(accept(argument)?))
}

fn accept(argument: *const c_char) -> Result<(), String> {
    let text = if argument.is_null() {
        ""
    } else {
        // SAFETY: Slurm passes a terminated string that lives as long as this call.
        unsafe { CStr::from_ptr(argument) }.to_str().map_err(|_| "--stasis: the value is not UTF-8")?
    };
    // Slurm hands a value that was left out on to the job's own srun in printf's words.
    let text = if text == "(null)" { "" } else { text };
    let user = UserOptions::parse(text).map_err(|error| error.to_string())?;
    let spec = JobSpec::resolve(&user, site()).map_err(|error| error.to_string())?;
    *SPEC.lock().map_err(|_| "--stasis: internal error")? = Some(spec);
    Ok(())
}
