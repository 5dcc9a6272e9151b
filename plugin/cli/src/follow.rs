//! Following a checkpoint that was asked for, in the event log: which lines are about it, and how it ended.
//!
//! The log is shared by all checkpoints of the job. Ours is the first request that begins after we looked; one that
//! somebody else asked for earlier, and one of the interval, are not, since the session may have been frozen for
//! them before we asked. A checkpoint that makes the session leave its node counts: nothing has run since.

use serde::Serialize;
use stasis_contract::{Event, Step, Trigger};

/// How far our checkpoint is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Progress {
    /// The shepherd has not begun.
    Asked,
    /// The session is being saved as this image; this was the last step.
    Saving {
        /// Number of the image.
        image: u32,
        /// The last step that was reported.
        step: Step,
    },
    /// The image is in the store.
    Committed {
        /// Number of the image.
        image: u32,
        /// Its bytes in the store.
        bytes: Option<u64>,
        /// Why it was taken.
        trigger: Trigger,
    },
    /// The session cannot be saved as it is.
    Refused {
        /// Why.
        message: String,
    },
    /// A step failed.
    Failed {
        /// Why.
        message: String,
    },
    /// The session ended before it was saved.
    Ended,
}

impl Progress {
    /// Whether nothing more will come.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Asked | Self::Saving { .. })
    }
}

/// Follows one request through the log.
#[derive(Debug, Clone)]
pub struct Follower {
    last_seen: Option<Event>,
    others_open: u32,
    image: Option<u32>,
    /// How far it is.
    pub progress: Progress,
    /// How long the session was frozen for it, in seconds, once that is known.
    pub frozen_s: Option<f64>,
}

impl Follower {
    /// Looks at the log before the request is sent.
    pub fn before(events: &[Event]) -> Self {
        Self {
            last_seen: events.last().cloned(),
            others_open: u32::from(open_request(events)),
            image: None,
            progress: Progress::Asked,
            frozen_s: None,
        }
    }

    /// Looks at the log again, whole as it is now.
    pub fn look(&mut self, events: &[Event]) -> &Progress {
        for event in self.fresh(events) {
            self.hear(event);
        }
        self.last_seen = events.last().cloned();
        &self.progress
    }

    /// The events that were not there before. A long log is read from its end only, so positions shift.
    fn fresh<'e>(&self, events: &'e [Event]) -> &'e [Event] {
        let Some(last) = &self.last_seen else { return events };
        let known = events.iter().rposition(|event| event == last).map(|index| index + 1);
        known.map_or(events, |known| &events[known..])
    }

    fn hear(&mut self, event: &Event) {
        if event.step == Step::Freeze && event.image.is_some() && event.image == self.image {
            self.frozen_s = event.seconds;
        }
        if self.progress.is_final() {
            return;
        }
        match (event.step, event.trigger) {
            (Step::Trigger, Some(trigger)) if trigger != Trigger::Interval => self.image = event.image,
            (Step::Commit, trigger) if event.image.is_some() && event.image == self.image => {
                self.progress = Progress::Committed {
                    image: event.image.unwrap_or_default(),
                    bytes: event.bytes,
                    trigger: trigger.unwrap_or(Trigger::Request),
                };
            }
            (Step::Commit, Some(Trigger::Request)) => self.others_open = 0,
            (Step::Refused | Step::Failure, Some(Trigger::Request)) => self.fail(event),
            // What made the session leave could not save it; our request comes after it.
            (Step::Refused | Step::Failure, Some(_)) => self.image = None,
            (Step::End, _) => self.progress = Progress::Ended,
            _ => {}
        }
        if let (Some(image), false) = (self.image, self.progress.is_final()) {
            self.progress = Progress::Saving { image, step: event.step };
        }
    }

    fn fail(&mut self, event: &Event) {
        if self.image.is_none() && self.others_open > 0 {
            self.others_open -= 1;
            return;
        }
        let message = event.message.clone().unwrap_or_else(|| "no reason was given".into());
        self.progress = match event.step {
            Step::Refused => Progress::Refused { message },
            _ => Progress::Failed { message },
        };
    }
}

/// Whether the log ends in a request that has neither been fulfilled nor failed.
fn open_request(events: &[Event]) -> bool {
    let about_request = |event: &&Event| event.trigger == Some(Trigger::Request);
    let steps = events.iter().rev().filter(about_request).map(|event| event.step);
    let mut ends =
        steps.filter(|step| matches!(step, Step::Trigger | Step::Commit | Step::Refused | Step::Failure));
    ends.next() == Some(Step::Trigger)
}

/// Whether the log says that the job's present run is a session of Stasis's. Only then may its batch task be
/// sent the signal of a request: any other would be killed by it.
pub fn is_session(events: &[Event], restart_count: u32) -> bool {
    let mut steps =
        events.iter().rev().filter(|event| event.restart_count == restart_count).map(|event| event.step);
    let last = steps.find(|step| matches!(step, Step::Start | Step::Resume | Step::End | Step::Requeue));
    matches!(last, Some(Step::Start | Step::Resume))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::event;
    use proptest::prelude::*;

    fn of(step: Step, at_ms: u64, image: Option<u32>, trigger: Trigger) -> Event {
        Event { image, trigger: Some(trigger), ..event(step, at_ms) }
    }

    fn ask(step: Step, at_ms: u64, image: u32) -> Event {
        of(step, at_ms, Some(image), Trigger::Request)
    }

    #[test]
    fn a_request_is_followed_to_its_commit() {
        let mut log = vec![event(Step::Start, 0)];
        let mut follower = Follower::before(&log);
        assert_eq!(*follower.look(&log), Progress::Asked);
        log.push(ask(Step::Trigger, 10, 1));
        assert_eq!(*follower.look(&log), Progress::Saving { image: 1, step: Step::Trigger });
        log.push(ask(Step::Pack, 20, 1));
        assert_eq!(*follower.look(&log), Progress::Saving { image: 1, step: Step::Pack });
        log.push(Event { bytes: Some(9), ..ask(Step::Commit, 30, 1) });
        let committed = Progress::Committed { image: 1, bytes: Some(9), trigger: Trigger::Request };
        assert_eq!(*follower.look(&log), committed);
        log.push(Event { seconds: Some(0.5), ..ask(Step::Freeze, 40, 1) });
        follower.look(&log);
        assert_eq!((follower.progress, follower.frozen_s), (committed, Some(0.5)));
    }

    #[test]
    fn a_refusal_and_a_failure_are_told_apart() {
        for (step, image) in [(Step::Refused, None), (Step::Failure, Some(1))] {
            let mut log = vec![event(Step::Start, 0)];
            let mut follower = Follower::before(&log);
            log.extend(image.map(|image| ask(Step::Trigger, 5, image)));
            log.push(Event { message: Some("why".into()), ..of(step, 10, None, Trigger::Request) });
            let message = "why".to_owned();
            let expected = match step {
                Step::Refused => Progress::Refused { message },
                _ => Progress::Failed { message },
            };
            assert_eq!(*follower.look(&log), expected);
        }
    }

    #[test]
    fn what_began_before_is_not_ours() {
        for others_end in [Step::Commit, Step::Failure] {
            let mut log = vec![event(Step::Start, 0), ask(Step::Trigger, 5, 1)];
            let mut follower = Follower::before(&log);
            log.push(match others_end {
                Step::Commit => ask(Step::Commit, 8, 1),
                step => of(step, 8, None, Trigger::Request),
            });
            assert_eq!(*follower.look(&log), Progress::Asked, "{others_end:?} of another's request");
            log.push(of(Step::Trigger, 9, Some(2), Trigger::Interval));
            log.push(of(Step::Commit, 10, Some(2), Trigger::Interval));
            assert_eq!(*follower.look(&log), Progress::Asked, "the interval's");
            log.extend([ask(Step::Trigger, 11, 3), ask(Step::Commit, 12, 3)]);
            assert!(matches!(follower.look(&log), Progress::Committed { image: 3, .. }));
        }
    }

    #[test]
    fn an_earlier_line_like_the_last_is_not_the_last() {
        let refused = of(Step::Refused, 5, None, Trigger::Request);
        let log = [event(Step::Start, 0), refused.clone(), refused];
        assert_eq!(*Follower::before(&log).look(&log), Progress::Asked);
    }

    #[test]
    fn a_preemption_on_the_way_saves_the_session_too() {
        let mut log = vec![event(Step::Start, 0)];
        let mut follower = Follower::before(&log);
        log.push(of(Step::Trigger, 5, Some(1), Trigger::Preemption));
        log.push(of(Step::Commit, 6, Some(1), Trigger::Preemption));
        let committed = Progress::Committed { image: 1, bytes: None, trigger: Trigger::Preemption };
        assert_eq!(*follower.look(&log), committed);
    }

    #[test]
    fn the_end_of_the_session_ends_the_waiting() {
        let mut log = vec![event(Step::Start, 0)];
        let mut follower = Follower::before(&log);
        log.push(event(Step::End, 5));
        assert_eq!(*follower.look(&log), Progress::Ended);
    }

    #[test]
    fn only_a_running_session_may_be_signalled() {
        let run = |count, step| Event { restart_count: count, ..event(step, 0) };
        assert!(!is_session(&[], 0), "a job without Stasis");
        assert!(is_session(&[run(0, Step::Start)], 0));
        assert!(!is_session(&[run(0, Step::Start)], 1), "its next run did not get that far");
        assert!(!is_session(&[run(0, Step::Start), run(0, Step::End)], 0), "ended");
        assert!(!is_session(&[run(0, Step::Start), run(0, Step::Requeue)], 0), "left");
        assert!(is_session(&[run(0, Step::Start), run(0, Step::Requeue), run(1, Step::Resume)], 1));
    }

    proptest! {
        /// However the log is cut into looks, and whether its beginning is dropped, the end is the same.
        #[test]
        fn looking_often_or_seldom_is_the_same(cuts in proptest::collection::vec(0usize..8, 0..6), dropped in 0usize..3) {
            let log = [
                event(Step::Start, 0),
                of(Step::Refused, 1, None, Trigger::Request),
                of(Step::Trigger, 2, Some(1), Trigger::Interval),
                of(Step::Commit, 3, Some(1), Trigger::Interval),
                ask(Step::Trigger, 4, 2),
                ask(Step::Pack, 5, 2),
                ask(Step::Commit, 6, 2),
                Event { seconds: Some(0.5), ..ask(Step::Freeze, 7, 2) },
            ];
            let mut follower = Follower::before(&log[..3]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.max(3)).collect();
            cuts.sort_unstable();
            for cut in cuts {
                follower.look(&log[dropped..cut]);
            }
            follower.look(&log[dropped..]);
            prop_assert!(matches!(follower.progress, Progress::Committed { image: 2, .. }), "{:?}", follower.progress);
            prop_assert_eq!(follower.frozen_s, Some(0.5));
        }
    }
}
