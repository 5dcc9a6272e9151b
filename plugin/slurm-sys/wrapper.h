#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

/* bindgen cannot read flags that slurm.h builds with SLURM_BIT(); the compiler can. */
static const uint32_t STASIS_SHOW_ALL = SHOW_ALL;
static const uint32_t STASIS_KILL_JOB_BATCH = KILL_JOB_BATCH;
static const uint32_t STASIS_JOB_COMPLETING = JOB_COMPLETING;
static const uint32_t STASIS_JOB_REQUEUED = JOB_REQUEUE;
static const uint32_t STASIS_INFINITE = INFINITE;
