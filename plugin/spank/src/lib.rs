//! The SPANK plugin `spank_stasis.so`: Slurm's hooks, and nothing that could be anywhere else.
//!
//! | hook | where | what |
//! |---|---|---|
//! | `init` | everywhere | reads the site's configuration; in sbatch, sets what survival needs |
//! | option `--stasis` | sbatch | is checked, so that a typo is an error at submission |
//! | `init_post_opt` | sbatch, salloc, srun | refuses what cannot work |
//! | `init_post_opt` | slurmstepd | opens the gate's pipe |
//! | `task_init_privileged` | the batch task | forks: the parent becomes the shepherd, the child the task |
//! | `task_post_fork` | slurmstepd | opens the gate: Slurm has put the task in its cgroup |
//! | `task_init` | the batch task | hands standard output and error to the shepherd |
//! | `job_epilog` | slurmd | starts what must outlive the job: its quick way back from the queue |
//!
//! A job without `--stasis` passes through every hook untouched.

mod boundary;
mod config;
mod epilog;
mod option;
mod remote;
mod submission;

use boundary::HookResult;
use slurm_spank::spank_sys::spank_t;
use slurm_spank::{Context, SpankHandle};

/// What the hooks keep.
struct Stasis {
    remote: remote::Remote,
}

// All hooks have one shape, whether or not they need all of it.
#[allow(clippy::unused_self, clippy::unnecessary_wraps)]
impl Stasis {
    const fn new() -> Self {
        Self { remote: remote::Remote::new() }
    }

    fn init(&mut self, spank: &mut SpankHandle, raw: spank_t) -> HookResult {
        config::load(&spank.plugin_argv()?)?;
        let context = spank.context()?;
        if context == Context::Allocator {
            submission::set_defaults();
        }
        match context {
            Context::Allocator | Context::Local | Context::Remote => {
                boundary::register(raw, option::definition())
            }
            _ => Ok(()),
        }
    }

    fn init_post_opt(&mut self, spank: &mut SpankHandle, _raw: spank_t) -> HookResult {
        match spank.context()? {
            Context::Remote => self.remote.prepare(spank),
            Context::Allocator | Context::Local => submission::check(),
            _ => Ok(()),
        }
    }

    fn task_init_privileged(&mut self, spank: &mut SpankHandle, _raw: spank_t) -> HookResult {
        self.remote.split(spank)
    }

    fn task_post_fork(&mut self, _spank: &mut SpankHandle, _raw: spank_t) -> HookResult {
        self.remote.open_gate();
        Ok(())
    }

    fn task_init(&mut self, _spank: &mut SpankHandle, _raw: spank_t) -> HookResult {
        self.remote.hand_over_stdio()
    }

    fn job_epilog(&mut self, spank: &mut SpankHandle, _raw: spank_t) -> HookResult {
        config::load(&spank.plugin_argv()?)?;
        epilog::run(spank.job_id()?)
    }
}
