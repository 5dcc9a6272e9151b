//! Makes the bindings from the slurm.h of the Slurm that will be used, since its structs change with every
//! release. `BINDGEN_EXTRA_CLANG_ARGS=-I...` and `SLURM_LIB_DIR=...` name another place than the system's.

use std::{env, path::PathBuf};

/// What Stasis calls and reads; binding all of slurm.h would take longer to compile than all the rest.
const FUNCTIONS: &str = "slurm_(init|strerror|load_job|load_jobs|load_job_user|free_job_info_msg|requeue|update_job|init_job_desc_msg|\
    kill_job|load_ctl_conf|free_ctl_conf|load_partitions|free_partition_info_msg|get_job_steps|\
    free_job_step_info_response_msg)";

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-env-changed=SLURM_LIB_DIR");
    println!("cargo::rerun-if-env-changed=BINDGEN_EXTRA_CLANG_ARGS");
    let bindings = bindgen::Builder::default()
        .header("wrapper.h")
        .allowlist_function(FUNCTIONS)
        .allowlist_type("job_states|job_state_reason")
        .allowlist_var("SLURM_(VERSION_NUMBER|BATCH_SCRIPT|EXTERN_CONT|INTERACTIVE_STEP)|JOB_STATE_BASE|PREEMPT_MODE_(SUSPEND|REQUEUE|CANCEL|GANG|WITHIN)|NO_VAL(16)?|STASIS_.*")
        .derive_default(true)
        .layout_tests(false)
        .generate()
        .expect("slurm/slurm.h: install Slurm's development files (Debian: libslurm-dev) and libclang (libclang-dev), or set BINDGEN_EXTRA_CLANG_ARGS=-I/path/to/include");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR can be written");

    if let Some(folder) = env::var_os("SLURM_LIB_DIR") {
        println!("cargo::rustc-link-search=native={}", PathBuf::from(folder).display());
    }
    println!("cargo::rustc-link-lib=dylib=slurm");
}
