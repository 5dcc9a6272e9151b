//! What the policy is told, and when it is asked: the same policy that the simulator studies decides here.

use crate::checkpoint::CheckpointError;
use stasis_contract::{CostModel, JobSpec, Trigger};
use stasis_policy::timing::{Fixed, NoticeAndInterval, OnNotice};
use stasis_policy::{Decision, Facts, Notice, Policy, Timing};
use std::time::{Duration, Instant};

/// A session younger than this is half-way through starting up, which is a bad moment to be frozen.
const TOO_YOUNG: Duration = Duration::from_secs(2);
/// After a checkpoint on notice has failed, the next try: what was in the way may have gone.
const RETRY: Duration = Duration::from_secs(5);

/// The plan for one session on one node.
#[derive(Debug)]
pub struct Plan {
    policy: Policy,
    began: Instant,
    restored: bool,
    saved: Instant,
    notice: Option<(Trigger, Instant)>,
    /// Before this the policy is not asked; `None`: not before something happens.
    ask_at: Option<Instant>,
    complained: Option<String>,
}

impl Plan {
    /// The plan that the job's options make. `restored` sessions are old from the start.
    pub fn new(spec: &JobSpec, restored: bool) -> Self {
        let timing = match spec.interval_s {
            Some(interval_s) => Timing::NoticeAndInterval(NoticeAndInterval {
                notice: OnNotice::default(),
                interval: Box::new(Timing::Fixed(Fixed { interval_s: interval_s.into() })),
            }),
            None => Timing::default(),
        };
        let now = Instant::now();
        let policy = Policy { timing, ..Policy::default() };
        Self { policy, began: now, restored, saved: now, notice: None, ask_at: Some(now), complained: None }
    }

    /// The session's time on this node ends in `left_s`. One that has only just begun is left to start up first.
    pub fn notice(&mut self, trigger: Trigger, left_s: f64) {
        let now = Instant::now();
        let left = Duration::try_from_secs_f64(left_s.max(0.0)).unwrap_or(Duration::MAX);
        self.notice = now.checked_add(left).map(|end| (trigger, end));
        let grown = if self.restored { self.began } else { self.began + TOO_YOUNG };
        self.ask_at = Some(now.max(grown));
    }

    /// When to ask again at the latest.
    pub fn ask_at(&self) -> Option<Instant> {
        self.ask_at
    }

    /// What to do now, if it is time to ask: the checkpoint to take, and whether the session leaves afterwards.
    pub fn due(&mut self) -> Option<(Trigger, bool)> {
        let now = Instant::now();
        if self.ask_at.is_none_or(|at| at > now) {
            return None;
        }
        self.ask_at = None;
        match self.policy.decide(&self.facts(now)) {
            Decision::Continue { look_again_in_s } => {
                let pause = look_again_in_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                self.ask_at = pause.and_then(|pause| now.checked_add(pause));
                None
            }
            Decision::Checkpoint { trigger } => Some((trigger, false)),
            Decision::Suspend { trigger } => Some((trigger, true)),
            // No policy that the options can make kills a session.
            Decision::Kill => None,
        }
    }

    fn facts(&self, now: Instant) -> Facts {
        let notice = self.notice.map(|(trigger, end)| Notice {
            left_s: end.saturating_duration_since(now).as_secs_f64(),
            trigger,
        });
        Facts {
            age_s: now.duration_since(self.began).as_secs_f64(),
            unsaved_s: now.duration_since(self.saved).as_secs_f64(),
            notice,
            ..Facts::new(CostModel::default(), 0)
        }
    }

    /// An image was committed, and the session goes on.
    pub fn saved(&mut self) {
        self.saved = Instant::now();
        self.ask_at = Some(self.saved);
        self.complained = None;
    }

    /// No image was made. Tells whether this is news for the user; tried again while there is time.
    pub fn not_saved(&mut self, error: &CheckpointError) -> bool {
        let now = Instant::now();
        match self.notice {
            Some((_, end)) if end > now + RETRY => self.ask_at = Some(now + RETRY),
            Some(_) => self.notice = None,
            None => {
                // The interval begins anew, or a session that cannot be saved would be frozen without pause.
                self.saved = now;
                self.ask_at = Some(now);
            }
        }
        let message = error.to_string();
        let news = self.complained.as_ref() != Some(&message);
        self.complained = Some(message);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_contract::{SiteConfig, UserOptions};

    fn plan(options: &str) -> Plan {
        let spec = JobSpec::resolve(&UserOptions::parse(options).unwrap(), &SiteConfig::default()).unwrap();
        Plan::new(&spec, true)
    }

    #[test]
    fn a_notice_is_acted_on_at_once() {
        let mut plan = plan("");
        assert_eq!(plan.due(), None);
        assert_eq!(plan.ask_at(), None, "nothing to do until something happens");
        plan.notice(Trigger::Preemption, 60.0);
        assert_eq!(plan.due(), Some((Trigger::Preemption, true)));
    }

    #[test]
    fn an_interval_is_counted_from_the_last_image() {
        let mut plan = plan("interval=10s");
        assert_eq!(plan.due(), None);
        let next = plan.ask_at().expect("the interval ends");
        assert!(next > Instant::now() + Duration::from_secs(5));
        plan.saved = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
        plan.ask_at = Some(Instant::now());
        assert_eq!(plan.due(), Some((Trigger::Interval, false)));
    }

    #[test]
    fn what_fails_on_notice_is_tried_again_and_said_once() {
        let mut plan = plan("");
        plan.notice(Trigger::Preemption, 60.0);
        plan.due();
        let error = CheckpointError::Unprotected("no store".into());
        assert!(plan.not_saved(&error));
        assert!(!plan.not_saved(&error));
        assert!(plan.ask_at().is_some_and(|at| at > Instant::now()));
        plan.notice(Trigger::Preemption, 1.0);
        plan.not_saved(&error);
        assert_eq!(plan.due(), None, "too late");
    }

    #[test]
    fn a_session_that_has_just_begun_starts_up_before_it_is_saved() {
        let spec = JobSpec::resolve(&UserOptions::default(), &SiteConfig::default()).unwrap();
        let mut plan = Plan::new(&spec, false);
        plan.notice(Trigger::Preemption, 60.0);
        assert_eq!(plan.due(), None);
        plan.began -= TOO_YOUNG;
        plan.notice(Trigger::Preemption, 58.0);
        assert_eq!(plan.due(), Some((Trigger::Preemption, true)));
    }
}
