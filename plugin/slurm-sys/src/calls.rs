//! The calls to slurmctld that Stasis makes.

use crate::ffi;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Once;
use thiserror::Error;

/// slurmctld refused, or could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot {what}: {reason}")]
pub struct SlurmError {
    /// What was asked for.
    pub what: String,
    /// Slurm's words for why not.
    pub reason: String,
    /// Slurm's number for it.
    pub code: i32,
}

/// Base states of a job, as squeue shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobState {
    #[default]
    /// Waits in the queue (or is still completing its previous run there).
    Pending,
    /// Has its nodes.
    Running,
    /// Has its nodes but was suspended by Slurm.
    Suspended,
    /// Ended, however it did.
    Ended,
}

/// What Stasis asks of a job's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Slurm's own flags, which do not exclude each other.
pub struct Job {
    /// Job id.
    pub id: u32,
    /// Uid of its user.
    pub uid: u32,
    /// Base state.
    pub state: JobState,
    /// The state as squeue writes it, such as `RUNNING` or `OUT_OF_MEMORY`.
    pub state_name: &'static str,
    /// Whether it is held: it will not start until somebody releases it.
    pub held: bool,
    /// Whether it is a batch job.
    pub is_batch: bool,
    /// Id of the array that the job is a task of, and its number there.
    pub array_task: Option<(u32, u32)>,
    /// Whether Slurm still cleans up after a run of the job.
    pub completing: bool,
    /// How often the job was requeued.
    pub restart_count: u32,
    /// Unix time before which a pending job will not start; 0 for none.
    pub begin_unix_s: i64,
    /// Unix time at which the job ends or will be ended.
    pub end_unix_s: i64,
    /// Unix time at which preemption was decided; 0 for never.
    pub preempt_unix_s: i64,
    /// Partition.
    pub partition: String,
    /// Nodes, as Slurm writes them.
    pub nodes: String,
    /// The job's name.
    pub name: String,
    /// Nodes that the job is kept off.
    pub excluded: String,
    /// Whether the job may be requeued at all.
    pub may_requeue: bool,
    /// Whether Slurm holds the job because it was requeued more often than MaxBatchRequeue.
    pub held_as_requeued_too_often: bool,
}

/// A running step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Number of the step within its job.
    pub id: u32,
    /// Name of the step.
    pub name: String,
}

/// What Stasis asks of the site's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// ClusterName.
    pub cluster: String,
    /// PreemptParameters.
    pub preempt_parameters: String,
    /// PreemptType.
    pub preempt_type: String,
    /// PreemptMode of partitions that have none of their own.
    pub preempt_mode: PreemptMode,
    /// SchedulerParameters.
    pub scheduler_parameters: String,
    /// SlurmdParameters.
    pub slurmd_parameters: String,
    /// ProctrackType.
    pub proctrack_type: String,
    /// TaskPlugin.
    pub task_plugin: String,
    /// PluginDir: folders, with colons between them.
    pub plugin_dir: String,
    /// PlugStackConfig.
    pub plugstack: String,
    /// Whether jobs are requeued unless they say otherwise (JobRequeue).
    pub job_requeue: bool,
    /// KillWait in seconds.
    pub kill_wait_s: u32,
    /// MinJobAge in seconds.
    pub min_job_age_s: u32,
    /// MaxBatchRequeue: how often Slurm requeues a job by itself before it holds the job.
    pub requeues_max: u32,
    /// Version of slurmctld.
    pub version: String,
}

/// What happens to a job that is preempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreemptMode {
    /// Nothing: it is not preempted.
    Off,
    /// It is suspended in place.
    Suspend,
    /// It is requeued, or cancelled if it may not be.
    Requeue,
    /// It is cancelled.
    Cancel,
}

/// What Stasis asks of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// GraceTime in seconds.
    pub grace_s: u32,
    /// PriorityTier: with preempt/partition_prio a job of a higher one preempts a job of a lower one.
    pub priority_tier: u32,
    /// PreemptMode, where it has one of its own.
    pub preempt_mode: Option<PreemptMode>,
}

/// A connection to the site's Slurm, as its configuration file describes it.
#[derive(Debug, Clone, Copy)]
pub struct Slurm(());

static INIT: Once = Once::new();

impl Slurm {
    /// Reads the site's slurm.conf. Slurm ends the process when it has none that can be read.
    pub fn open() -> Self {
        // SAFETY: slurm_init may be called once, before any other call; a null path means the default one.
        INIT.call_once(|| unsafe { ffi::slurm_init(ptr::null()) });
        Self(())
    }

    /// The record of one job.
    ///
    /// # Errors
    /// When there is no such job, or slurmctld does not answer.
    pub fn job(self, id: u32) -> Result<Job, SlurmError> {
        let mut message: *mut ffi::job_info_msg_t = ptr::null_mut();
        // SAFETY: libslurm allocates the message and sets the pointer when it returns 0.
        let code = unsafe { ffi::slurm_load_job(&raw mut message, id, 0) };
        check(code, || format!("look up job {id}"))?;
        // SAFETY: the message is whole: `record_count` records stand at `job_array`.
        let jobs = unsafe { records((*message).job_array, (*message).record_count) };
        let job = jobs.iter().find(|record| record.job_id == id).map(job_of);
        // SAFETY: the message came from slurm_load_job, is freed once, and nothing borrowed outlives it.
        unsafe { ffi::slurm_free_job_info_msg(message) };
        job.ok_or_else(|| SlurmError {
            what: format!("look up job {id}"),
            reason: "slurmctld knows no such job".into(),
            code: -1,
        })
    }

    /// The jobs of one user, or of all whose jobs the caller may see, that slurmctld remembers. One request.
    ///
    /// # Errors
    /// When slurmctld does not answer.
    pub fn jobs(self, uid: Option<u32>) -> Result<Vec<Job>, SlurmError> {
        let mut message: *mut ffi::job_info_msg_t = ptr::null_mut();
        // SAFETY: libslurm allocates the message and sets the pointer when it returns 0.
        let code = unsafe {
            match uid {
                Some(uid) => ffi::slurm_load_job_user(&raw mut message, uid, ffi::STASIS_SHOW_ALL as u16),
                None => ffi::slurm_load_jobs(0, &raw mut message, ffi::STASIS_SHOW_ALL as u16),
            }
        };
        check(code, || "list the jobs".into())?;
        // SAFETY: the message is whole: `record_count` records stand at `job_array`.
        let jobs = unsafe { records((*message).job_array, (*message).record_count) };
        let jobs = jobs.iter().map(job_of).collect();
        // SAFETY: the message came from libslurm's loading of jobs and is freed once.
        unsafe { ffi::slurm_free_job_info_msg(message) };
        Ok(jobs)
    }

    /// The job's running steps other than its batch script and Slurm's own.
    ///
    /// # Errors
    /// When slurmctld does not answer.
    pub fn steps(self, id: u32) -> Result<Vec<Step>, SlurmError> {
        let mut message: *mut ffi::job_step_info_response_msg_t = ptr::null_mut();
        // SAFETY: as above. The step id is passed by value or pointer as the release wants it.
        let code = unsafe {
            ffi::slurm_get_job_steps(0, id, ffi::NO_VAL, &raw mut message, ffi::STASIS_SHOW_ALL as u16)
        };
        check(code, || format!("list the steps of job {id}"))?;
        // SAFETY: the message is whole: `job_step_count` records stand at `job_steps`.
        let records = unsafe { records((*message).job_steps, (*message).job_step_count) };
        let own = [ffi::SLURM_BATCH_SCRIPT, ffi::SLURM_EXTERN_CONT, ffi::SLURM_INTERACTIVE_STEP];
        let running =
            records.iter().filter(|step| step.step_id.job_id == id && !own.contains(&step.step_id.step_id));
        let steps = running.map(|step| Step { id: step.step_id.step_id, name: text(step.name) }).collect();
        // SAFETY: the message came from slurm_get_job_steps and is freed once.
        unsafe { ffi::slurm_free_job_step_info_response_msg(message) };
        Ok(steps)
    }

    /// The site's configuration.
    ///
    /// # Errors
    /// When slurmctld does not answer.
    pub fn site(self) -> Result<Site, SlurmError> {
        let mut conf: *mut ffi::slurm_conf_t = ptr::null_mut();
        // SAFETY: libslurm allocates the record and sets the pointer when it returns 0.
        let code = unsafe { ffi::slurm_load_ctl_conf(0, &raw mut conf) };
        check(code, || "load the site's configuration".into())?;
        // SAFETY: the record is whole, and its strings are null or terminated.
        let record = unsafe { &*conf };
        let site = Site {
            cluster: text(record.cluster_name),
            preempt_parameters: text(record.preempt_params),
            preempt_type: text(record.preempt_type),
            preempt_mode: preempt_mode(record.preempt_mode),
            slurmd_parameters: text(record.slurmd_params),
            proctrack_type: text(record.proctrack_type),
            task_plugin: text(record.task_plugin),
            plugin_dir: text(record.plugindir),
            plugstack: text(record.plugstack),
            job_requeue: record.job_requeue != 0,
            kill_wait_s: record.kill_wait.into(),
            min_job_age_s: record.min_job_age,
            requeues_max: record.max_batch_requeue,
            scheduler_parameters: text(record.sched_params),
            version: text(record.version),
        };
        // SAFETY: the record came from slurm_load_ctl_conf and is freed once.
        unsafe { ffi::slurm_free_ctl_conf(conf) };
        Ok(site)
    }

    /// The site's partitions.
    ///
    /// # Errors
    /// When slurmctld does not answer.
    pub fn partitions(self) -> Result<Vec<Partition>, SlurmError> {
        let mut message: *mut ffi::partition_info_msg_t = ptr::null_mut();
        // SAFETY: libslurm allocates the message and sets the pointer when it returns 0.
        let code = unsafe { ffi::slurm_load_partitions(0, &raw mut message, ffi::STASIS_SHOW_ALL as u16) };
        check(code, || "list the partitions".into())?;
        // SAFETY: the message is whole: `record_count` records stand at `partition_array`.
        let records = unsafe { records((*message).partition_array, (*message).record_count) };
        let partitions = records.iter().map(partition_of).collect();
        // SAFETY: the message came from slurm_load_partitions and is freed once.
        unsafe { ffi::slurm_free_partition_info_msg(message) };
        Ok(partitions)
    }

    /// Grace time of a partition in seconds.
    ///
    /// # Errors
    /// When slurmctld does not answer or knows no such partition.
    pub fn grace_s(self, partition: &str) -> Result<u32, SlurmError> {
        let partitions = self.partitions()?;
        let found = partitions.iter().find(|candidate| candidate.name == partition);
        found.map(|found| found.grace_s).ok_or_else(|| SlurmError {
            what: format!("look up partition {partition}"),
            reason: "slurmctld knows no such partition".into(),
            code: -1,
        })
    }

    /// Gives a running job back to the queue, or an ended one while slurmctld still remembers it.
    ///
    /// # Errors
    /// When the job may not be requeued, or slurmctld does not answer.
    pub fn requeue(self, id: u32) -> Result<(), SlurmError> {
        // SAFETY: plain numbers.
        check(unsafe { ffi::slurm_requeue(id, 0) }, || format!("requeue job {id}"))
    }

    /// Lets a pending job start as soon as it can (`scontrol update StartTime=now`).
    ///
    /// # Errors
    /// When the job is not pending, or slurmctld does not answer.
    pub fn start_now(self, id: u32) -> Result<(), SlurmError> {
        // SAFETY: the descriptor is plain data that slurm_init_job_desc_msg fills with "no change".
        let code = unsafe {
            let mut change: ffi::job_desc_msg_t = std::mem::zeroed();
            ffi::slurm_init_job_desc_msg(&raw mut change);
            change.job_id = id;
            change.begin_time = libc::time(ptr::null_mut());
            ffi::slurm_update_job(&raw mut change)
        };
        check(code, || format!("lift the start time of job {id}"))
    }

    /// Lets a held job go (`scontrol release`). Only an administrator may release what Slurm holds.
    ///
    /// # Errors
    /// When the job is not held, or slurmctld does not answer.
    pub fn release(self, id: u32) -> Result<(), SlurmError> {
        // SAFETY: as in `start_now`.
        let code = unsafe {
            let mut change: ffi::job_desc_msg_t = std::mem::zeroed();
            ffi::slurm_init_job_desc_msg(&raw mut change);
            change.job_id = id;
            change.priority = ffi::STASIS_INFINITE;
            ffi::slurm_update_job(&raw mut change)
        };
        check(code, || format!("release job {id}"))
    }

    /// Keeps a pending job off exactly these nodes.
    ///
    /// # Errors
    /// When the job is not pending, or slurmctld does not answer.
    pub fn exclude_nodes(self, id: u32, nodes: &str) -> Result<(), SlurmError> {
        let what = || format!("keep job {id} off {nodes}");
        let nodes = CString::new(nodes).map_err(|_| SlurmError {
            what: what(),
            reason: "the list has a zero byte".into(),
            code: -1,
        })?;
        // SAFETY: as in `start_now`; the string outlives the call, which only reads it.
        let code = unsafe {
            let mut change: ffi::job_desc_msg_t = std::mem::zeroed();
            ffi::slurm_init_job_desc_msg(&raw mut change);
            change.job_id = id;
            change.exc_nodes = nodes.as_ptr().cast_mut();
            ffi::slurm_update_job(&raw mut change)
        };
        check(code, what)
    }

    /// Sends a signal to the job's batch task alone, which is its shepherd.
    ///
    /// # Errors
    /// When the job is not running or not the caller's, or slurmctld does not answer.
    pub fn signal_batch(self, id: u32, signal: u16) -> Result<(), SlurmError> {
        // SAFETY: plain numbers.
        let code = unsafe { ffi::slurm_kill_job(id, signal, ffi::STASIS_KILL_JOB_BATCH as u16) };
        check(code, || format!("signal job {id}"))
    }
}

fn check(code: i32, what: impl FnOnce() -> String) -> Result<(), SlurmError> {
    if code == 0 {
        return Ok(());
    }
    // libslurm returns -1 and keeps the reason in errno.
    let code = if code == -1 { std::io::Error::last_os_error().raw_os_error().unwrap_or(code) } else { code };
    // SAFETY: slurm_strerror returns a static string for any number.
    let reason = unsafe { text(ffi::slurm_strerror(code)) };
    Err(SlurmError { what: what(), reason, code })
}

/// # Safety
/// `count` records must stand at `first`, which may be null when there are none.
unsafe fn records<'a, T>(first: *const T, count: u32) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts(first, count as usize) }
}

fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: libslurm's strings are terminated and outlive the record that is being read.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

fn partition_of(record: &ffi::partition_info_t) -> Partition {
    let own = u32::from(record.preempt_mode) != ffi::NO_VAL16;
    Partition {
        name: text(record.name),
        grace_s: record.grace_time,
        priority_tier: record.priority_tier.into(),
        preempt_mode: own.then(|| preempt_mode(record.preempt_mode)),
    }
}

/// The mode without its flags (GANG, WITHIN).
fn preempt_mode(bits: u16) -> PreemptMode {
    match u32::from(bits) & !(ffi::PREEMPT_MODE_GANG | ffi::PREEMPT_MODE_WITHIN) {
        ffi::PREEMPT_MODE_SUSPEND => PreemptMode::Suspend,
        ffi::PREEMPT_MODE_REQUEUE => PreemptMode::Requeue,
        ffi::PREEMPT_MODE_CANCEL => PreemptMode::Cancel,
        _ => PreemptMode::Off,
    }
}

/// The state as squeue writes it; what Slurm still does with the job's last run counts more than how that ended.
fn state_name(bits: u32) -> &'static str {
    if bits & ffi::STASIS_JOB_COMPLETING != 0 {
        return if bits & ffi::STASIS_JOB_REQUEUED != 0 { "REQUEUED" } else { "COMPLETING" };
    }
    match bits & ffi::JOB_STATE_BASE {
        ffi::job_states_JOB_PENDING => "PENDING",
        ffi::job_states_JOB_RUNNING => "RUNNING",
        ffi::job_states_JOB_SUSPENDED => "SUSPENDED",
        ffi::job_states_JOB_COMPLETE => "COMPLETED",
        ffi::job_states_JOB_CANCELLED => "CANCELLED",
        ffi::job_states_JOB_FAILED => "FAILED",
        ffi::job_states_JOB_TIMEOUT => "TIMEOUT",
        ffi::job_states_JOB_NODE_FAIL => "NODE_FAIL",
        ffi::job_states_JOB_PREEMPTED => "PREEMPTED",
        ffi::job_states_JOB_BOOT_FAIL => "BOOT_FAIL",
        ffi::job_states_JOB_DEADLINE => "DEADLINE",
        ffi::job_states_JOB_OOM => "OUT_OF_MEMORY",
        _ => "UNKNOWN",
    }
}

fn job_of(record: &ffi::slurm_job_info_t) -> Job {
    Job {
        id: record.job_id,
        uid: record.user_id,
        state: match record.job_state & ffi::JOB_STATE_BASE {
            ffi::job_states_JOB_PENDING => JobState::Pending,
            ffi::job_states_JOB_RUNNING => JobState::Running,
            ffi::job_states_JOB_SUSPENDED => JobState::Suspended,
            _ => JobState::Ended,
        },
        state_name: state_name(record.job_state),
        held: record.job_state & ffi::JOB_STATE_BASE == ffi::job_states_JOB_PENDING && record.priority == 0,
        is_batch: record.batch_flag != 0,
        array_task: (record.array_job_id != 0 && record.array_task_id != ffi::NO_VAL)
            .then_some((record.array_job_id, record.array_task_id)),
        completing: record.job_state & ffi::STASIS_JOB_COMPLETING != 0,
        restart_count: record.restart_cnt.into(),
        begin_unix_s: record.start_time,
        end_unix_s: record.end_time,
        preempt_unix_s: record.preempt_time,
        partition: text(record.partition),
        nodes: text(record.nodes),
        name: text(record.name),
        excluded: text(record.exc_nodes),
        may_requeue: record.requeue != 0,
        held_as_requeued_too_often: record.state_reason == ffi::job_state_reason_WAIT_MAX_REQUEUE,
    }
}
