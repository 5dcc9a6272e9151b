//! What a policy may know at the moment it is asked. It must not hold anything that only a simulator
//! could know, such as when the next preemption comes.

use stasis_contract::{CostModel, Trigger};

/// An announced end of the session's time on its node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Notice {
    /// Seconds until the node is taken away.
    pub left_s: f64,
    /// Why it ends: preemption, the time limit, a drain.
    pub trigger: Trigger,
}

/// The state of one running session, as its shepherd or the simulator sees it now.
///
/// All fields in seconds are non-negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Seconds since the session's node was handed over to it: the age that preemption laws speak of.
    pub age_s: f64,
    /// Seconds of computing since the last committed image (or the start of the session): what would be
    /// lost now. A caller that cannot tell computing from waiting gives wall-clock seconds.
    pub unsaved_s: f64,
    /// Seconds of computing that are left, where that is known (batch jobs); `None` for open-ended sessions.
    pub work_left_s: Option<f64>,
    /// The announced end of the session's time on its node, if one was announced.
    pub notice: Option<Notice>,
    /// Resident memory in bytes: what a dump would have to write.
    pub resident_bytes: u64,
    /// What dumps and restores cost.
    pub cost: CostModel,
    /// True while something computes in the session.
    pub busy: bool,
    /// Seconds since the session last computed; 0 while it computes.
    pub kernel_idle_s: f64,
    /// Seconds since a browser was last connected; 0 while one is. A caller that cannot tell gives
    /// `kernel_idle_s`.
    pub browser_away_s: f64,
    /// Seconds that a session which asks to come back waits, on average, until it has a node again: queue
    /// and boot. The restore comes on top. A caller that has not measured gives `cost.requeue_s`.
    pub expected_wait_s: f64,
    /// How long this user's idle period is expected to last in all, in seconds, from
    /// [`idle::History::predict_s`](crate::idle::History::predict_s); `None` while nothing is known.
    pub predicted_idle_s: Option<f64>,
    /// A uniform random number in (0, 1), drawn by the caller once per idle period and kept during it.
    pub idle_uniform: f64,
}

impl Facts {
    /// A session of this size that has just started, computes, and has had no notice.
    pub fn new(cost: CostModel, resident_bytes: u64) -> Self {
        Self {
            age_s: 0.0,
            unsaved_s: 0.0,
            work_left_s: None,
            notice: None,
            resident_bytes,
            cost,
            busy: true,
            kernel_idle_s: 0.0,
            browser_away_s: 0.0,
            expected_wait_s: cost.requeue_s,
            predicted_idle_s: None,
            idle_uniform: 0.5,
        }
    }

    /// Seconds that a dump would take now, with the store to itself.
    pub fn dump_s(&self) -> f64 {
        self.cost.dump_s(self.resident_bytes)
    }

    /// Seconds that bringing the session back would take, with the store to itself.
    pub fn restore_s(&self) -> f64 {
        self.cost.restore_s(self.resident_bytes)
    }
}
