//! Raw bindings to libslurm, made by bindgen from the installed slurm.h.
