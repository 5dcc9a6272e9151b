//! The edge between Slurm and this plugin: the symbols that Slurm looks up, and the one guard through which every
//! hook goes.
//!
//! slurm-spank's own `SPANK_PLUGIN!` is not used: it exports every hook there is, which makes slurmd start a
//! process for the prolog of every job of the cluster, and it cannot register an option whose value may be left
//! out. Its handle, which reads what Slurm knows of a job, is.

use crate::Stasis;
use slurm_spank::spank_sys::{spank_option, spank_option_register, spank_t};
use slurm_spank::{init_spank_handle, spank_log_error, OptionCache, SpankHandle, SLURM_VERSION_NUMBER};
use std::error::Error;
use std::ffi::{c_char, c_int, c_uint};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Mutex;

/// What a hook returns.
pub(crate) type HookResult = Result<(), Box<dyn Error>>;

/// Name under which Slurm knows the plugin.
#[no_mangle]
pub static plugin_name: [u8; 7] = *b"stasis\0";
/// Kind of plugin.
#[no_mangle]
pub static plugin_type: [u8; 6] = *b"spank\0";
/// The release of Slurm that the plugin was built for; another one refuses to load it.
#[no_mangle]
pub static plugin_version: c_uint = SLURM_VERSION_NUMBER;

/// What the hooks of this process, and of those that it forks, share.
static STATE: Mutex<Stasis> = Mutex::new(Stasis::new());

/// Runs a hook: no panic leaves it, and an error is said once.
pub(crate) fn guard(hook: impl FnOnce(&mut Stasis) -> HookResult) -> c_int {
    let run = AssertUnwindSafe(|| {
        // A hook that panicked has left nothing half-done that a later one could trip over: each takes what it
        // needs out of the state before it acts.
        let mut state = STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        hook(&mut state)
    });
    match catch_unwind(run) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            spank_log_error!("{error}");
            -1
        }
        Err(_) => {
            spank_log_error!("stasis: internal error: a hook panicked");
            -1
        }
    }
}

/// Registers the option in whatever kind of process this is.
pub(crate) fn register(spank: spank_t, mut option: spank_option) -> HookResult {
    // SAFETY: Slurm passed the handle to the hook that is running, and copies what the option points to.
    match unsafe { spank_option_register(spank, &raw mut option) } {
        0 => Ok(()),
        code => Err(format!("cannot register --stasis: error {code}").into()),
    }
}

macro_rules! hooks {
    ($($(#[$doc:meta])* $symbol:ident => $method:ident;)*) => {$(
        $(#[$doc])*
        #[no_mangle]
        pub extern "C" fn $symbol(spank: spank_t, argc: c_int, argv: *const *const c_char) -> c_int {
            guard(|state| {
                let mut options = OptionCache::default();
                let mut handle: SpankHandle = init_spank_handle(spank, argc, argv, &mut options);
                state.$method(&mut handle, spank)
            })
        }
    )*};
}

hooks! {
    /// In every process that loads the plugin.
    slurm_spank_init => init;
    /// After options were read.
    slurm_spank_init_post_opt => init_post_opt;
    /// In each task, as root.
    slurm_spank_task_init_privileged => task_init_privileged;
    /// In slurmstepd, for each task it has forked.
    slurm_spank_task_post_fork => task_post_fork;
    /// In each task, as the user.
    slurm_spank_task_init => task_init;
    /// On the node, after a job.
    slurm_spank_job_epilog => job_epilog;
}
