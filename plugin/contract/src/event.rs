//! What happened to a session, one JSON line per step: read by people through `stasis show`, and by the
//! simulator, whose cost model is calibrated from these lines.

use serde::{Deserialize, Serialize};

/// Why a checkpoint was taken or a session brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Slurm preempts the job and its grace time has begun.
    Preemption,
    /// The job's time limit is near.
    TimeLimit,
    /// The user or an administrator asked, and the session keeps running.
    Request,
    /// The interval of `--stasis=interval=` has passed.
    Interval,
    /// The session has been idle long enough that keeping the node does not pay.
    Idle,
    /// The node is being drained.
    Drain,
}

/// One step in the walk of a checkpoint or a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The session was started from its script, with nothing restored.
    Start,
    /// Something asked for a checkpoint.
    Trigger,
    /// The session's processes were stopped; `seconds` is how long they stayed so.
    Freeze,
    /// Memory and kernel state were written; `bytes` are those of the dump before packing.
    Dump,
    /// Files were compressed, hashed and written to the store; `bytes` are those in the store.
    Pack,
    /// The manifest was renamed into place: from here on the image counts.
    Commit,
    /// The job was given back to the queue.
    Requeue,
    /// An image was found to be authentic and the job's own; its content is checked as the restore reads it.
    Verify,
    /// The processes were brought back.
    Restore,
    /// The restored session runs again; `seconds` is the whole way from the hook to here.
    Resume,
    /// The session could not be checkpointed, and why; it goes on unharmed.
    Refused,
    /// A step failed, and why.
    Failure,
    /// The session ended by itself.
    End,
}

/// One line of a session's event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Wall-clock time at which the step ended, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// Slurm's job id.
    pub job_id: u32,
    /// How often Slurm had requeued the job before this run of it.
    pub restart_count: u32,
    /// The node's name.
    pub node: String,
    /// The step that this line reports.
    pub step: Step,
    /// Number of the image that the step is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<u32>,
    /// Why the walk began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// How long the step took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How many bytes the step moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What a person should know, such as the reason of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Event {
    /// The events of a log. A last line without an end is left out: it may be half written just now.
    ///
    /// # Errors
    /// When a line is no event.
    pub fn in_log(log: &str) -> serde_json::Result<Vec<Self>> {
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(serde_json::from_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_up_to_its_last_whole_line() {
        let line = r#"{"at_unix_ms":7,"job_id":1,"restart_count":0,"node":"n1","step":"start"}"#;
        let steps = |log: &str| Event::in_log(log).map(|events| events.len()).ok();
        assert_eq!(steps(""), Some(0));
        assert_eq!(steps(&line[..20]), Some(0), "it has only begun");
        assert_eq!(steps(&format!("{line}\n{line}\n{}", &line[..20])), Some(2));
        assert_eq!(steps(&format!("{line}\nno event\n")), None);
    }
}
