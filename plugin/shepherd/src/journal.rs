//! The session's event log: one line per step, in the store, as the user.

use stasis_contract::{Event, Step, Trigger};
use stasis_handover::Handover;
use stasis_image::Job;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where events go. A log that cannot be written stops nothing.
#[derive(Debug)]
pub struct Journal {
    blank: Event,
    job: Option<Job>,
}

impl Journal {
    /// A log for this run of the job, in the job's folder of the store if there is one.
    pub fn new(handover: &Handover, restart_count: u32, job: Option<Job>) -> Self {
        let blank = Event {
            at_unix_ms: 0,
            job_id: handover.job_id,
            restart_count,
            node: handover.node.clone(),
            step: Step::Start,
            image: None,
            trigger: None,
            seconds: None,
            bytes: None,
            message: None,
        };
        Self { blank, job }
    }

    /// An event of now, to be filled and given to [`Self::write`].
    pub fn event(&self, step: Step) -> Event {
        Event { at_unix_ms: now_unix_ms(), step, ..self.blank.clone() }
    }

    /// Appends the event.
    pub fn write(&self, event: &Event) {
        if let Some(job) = &self.job {
            let _ = job.append_event(event);
        }
    }

    /// Appends an event with a message.
    pub fn note(&self, step: Step, trigger: Option<Trigger>, message: &str) {
        self.write(&Event { trigger, message: Some(message.to_owned()), ..self.event(step) });
    }
}

/// Wall-clock time in milliseconds since the Unix epoch.
pub fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
