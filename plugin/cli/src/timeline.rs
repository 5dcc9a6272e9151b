//! The event log as a table that a person can read, and what it adds up to.

use crate::list::trigger_words;
use crate::text::{self, INDENT, Style, Tone};
use serde::Serialize;
use stasis_contract::{Event, Step, Trigger, format_bytes, format_seconds};

/// Sums over an event log.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Images that were committed.
    pub committed: u64,
    /// Bytes of these images in the store.
    pub committed_bytes: u64,
    /// Seconds for which the session was frozen, all checkpoints together.
    pub frozen_s: f64,
    /// The longest freeze in seconds.
    pub frozen_longest_s: f64,
    /// For each time that the session was brought back: seconds from what made it leave until it ran again.
    pub away_s: Vec<f64>,
    /// Of these, those that were preemptions.
    pub preempted_s: Vec<f64>,
    /// Checkpoints that were refused.
    pub refused: u64,
    /// Steps that failed.
    pub failed: u64,
    /// How often the job came back and the session had to start anew.
    pub cold_starts: u64,
}

impl Totals {
    /// Adds up.
    pub fn of(events: &[Event]) -> Self {
        let mut totals = Self::default();
        let mut left: Option<(u64, Trigger)> = None;
        for event in events {
            match event.step {
                Step::Commit => {
                    totals.committed += 1;
                    totals.committed_bytes = totals.committed_bytes.saturating_add(event.bytes.unwrap_or(0));
                }
                Step::Freeze => totals.freeze(event.seconds.unwrap_or(0.0)),
                Step::Trigger => {
                    left = event.trigger.filter(|why| leaves(*why)).map(|why| (event.at_unix_ms, why));
                }
                Step::Resume => {
                    if let Some((since, why)) = left.take() {
                        totals.away(event.at_unix_ms.saturating_sub(since) as f64 / 1000.0, why);
                    }
                }
                Step::Start => {
                    totals.cold_starts += u64::from(event.restart_count > 0);
                    left = None;
                }
                Step::Refused => totals.refused += 1,
                Step::Failure => totals.failed += 1,
                _ => {}
            }
        }
        totals
    }

    fn freeze(&mut self, seconds: f64) {
        self.frozen_s += seconds;
        self.frozen_longest_s = self.frozen_longest_s.max(seconds);
    }

    fn away(&mut self, seconds: f64, why: Trigger) {
        self.away_s.push(seconds);
        if why == Trigger::Preemption {
            self.preempted_s.push(seconds);
        }
    }

    /// The sums for people, one a line.
    pub fn render(&self, style: Style) -> String {
        let mut lines = vec![format!(
            "{} committed, {} in all; frozen {} in all, {} at most",
            text::count(self.committed, "image"),
            format_bytes(self.committed_bytes),
            format_seconds(self.frozen_s),
            format_seconds(self.frozen_longest_s)
        )];
        for (what, seconds) in [("preemption to resume", &self.preempted_s), ("away", &self.away_s)] {
            let repeats = what == "away" && self.away_s == self.preempted_s;
            if !seconds.is_empty() && !repeats {
                lines.push(format!("{what}: {}", spread(seconds)));
            }
        }
        let bad = [
            (self.refused, "checkpoint", " refused"),
            (self.failed, "step", " failed"),
            (self.cold_starts, "time", " started anew, what was in memory lost"),
        ];
        for (number, what, how) in bad.into_iter().filter(|(number, ..)| *number > 0) {
            lines.push(style.mark(Tone::Bad, &format!("{}{how}", text::count(number, what))));
        }
        lines.iter().flat_map(|line| ["  ", line, "\n"]).collect()
    }
}

fn leaves(trigger: Trigger) -> bool {
    !matches!(trigger, Trigger::Request | Trigger::Interval)
}

/// `3.31 s`, or for more `3 times, 2.90 s to 3.31 s`.
fn spread(seconds: &[f64]) -> String {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = seconds.iter().copied().fold(0.0, f64::max);
    match seconds.len() {
        1 => format_seconds(most),
        times => format!("{times} times, {} to {}", format_seconds(least), format_seconds(most)),
    }
}

/// The table of events without the first `skip`. Times count from the first one of all.
pub fn render(events: &[Event], skip: usize, style: Style) -> String {
    let Some(first) = events.first() else { return String::new() };
    let mut table =
        style.table(&[">AFTER", ">RUN", "NODE", "STEP", ">IMAGE", ">TOOK", ">BYTES", "NOTE"], INDENT);
    let mut before: Option<&Event> = None;
    for event in events.iter().skip(skip) {
        if before.is_some() && event.step == Step::Trigger {
            table.add_row([""]);
        }
        let same_run = before.is_some_and(|before| before.restart_count == event.restart_count);
        let same_node = same_run && before.is_some_and(|before| before.node == event.node);
        let tone = tone(event);
        table.add_row([
            style.cell(Some(Tone::Faint), after(first.at_unix_ms, event.at_unix_ms)),
            style.cell(None, if same_run { String::new() } else { event.restart_count.to_string() }),
            style.cell(None, if same_node { String::new() } else { text::name(&event.node) }),
            style.cell(tone, step_word(event.step)),
            style.cell(None, event.image.map(|image| image.to_string()).unwrap_or_default()),
            style.cell(None, event.seconds.map(took).unwrap_or_default()),
            style.cell(None, event.bytes.map(format_bytes).unwrap_or_default()),
            style.cell(tone.filter(|tone| *tone != Tone::Good), remark(event)),
        ]);
        before = Some(event);
    }
    text::lines(&table, INDENT)
}

/// A number that a user's file claims may be anything.
fn took(seconds: f64) -> String {
    if seconds.is_finite() && seconds >= 0.0 { format_seconds(seconds) } else { "?".into() }
}

/// `12.31`, `4:02.50`, `26:03:10.00`: minutes and hours only where there are any.
fn after(from_unix_ms: u64, at_unix_ms: u64) -> String {
    let (sign, ms) = match at_unix_ms.checked_sub(from_unix_ms) {
        Some(ms) => ("", ms),
        None => ("-", from_unix_ms - at_unix_ms),
    };
    let (s, hundredths) = (ms / 1000, ms % 1000 / 10);
    match s {
        0..60 => format!("{sign}{s}.{hundredths:02} s"),
        60..3_600 => format!("{sign}{}:{:02}.{hundredths:02}", s / 60, s % 60),
        _ => format!("{sign}{}:{:02}:{:02}.{hundredths:02}", s / 3_600, s % 3_600 / 60, s % 60),
    }
}

fn tone(event: &Event) -> Option<Tone> {
    match event.step {
        Step::Failure => Some(Tone::Bad),
        Step::Refused => Some(Tone::Warning),
        Step::Start if event.restart_count > 0 => Some(Tone::Bad),
        Step::Commit | Step::Resume => Some(Tone::Good),
        _ => None,
    }
}

/// A step's name in the table.
pub fn step_word(step: Step) -> &'static str {
    match step {
        Step::Start => "start",
        Step::Trigger => "trigger",
        Step::Freeze => "freeze",
        Step::Dump => "dump",
        Step::Pack => "pack",
        Step::Commit => "commit",
        Step::Requeue => "requeue",
        Step::Verify => "verify",
        Step::Restore => "restore",
        Step::Resume => "resume",
        Step::Refused => "REFUSED",
        Step::Failure => "FAILURE",
        Step::End => "end",
    }
}

fn remark(event: &Event) -> String {
    let why = match event.step {
        // The steps after a trigger are for the same reason; repeating it would hide what differs.
        Step::Trigger | Step::Refused | Step::Failure => event.trigger.map(trigger_words),
        Step::Start if event.restart_count > 0 => Some("started anew from its script"),
        _ => None,
    };
    let message = event.message.as_deref().map(text::message);
    match (why, message) {
        (Some(why), Some(message)) => format!("{why}: {message}"),
        (Some(why), None) => why.into(),
        (None, message) => message.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::event;
    use crate::fixture::hostile_text;
    use proptest::prelude::*;

    /// A session that is checkpointed on request, refused once, preempted and brought back.
    pub(crate) fn story() -> Vec<Event> {
        let image =
            |event: Event, image, trigger| Event { image: Some(image), trigger: Some(trigger), ..event };
        let took = |event: Event, seconds| Event { seconds: Some(seconds), ..event };
        let moved = |event: Event, bytes| Event { bytes: Some(bytes), ..event };
        let run = |event: Event| Event { restart_count: 1, node: "n2".into(), ..event };
        let request = |step, at| image(event(step, at), 1, Trigger::Request);
        let preemption = |step, at| image(event(step, at), 2, Trigger::Preemption);
        vec![
            event(Step::Start, 0),
            Event {
                trigger: Some(Trigger::Request),
                message: Some("step 7.0 (hostname) is running".into()),
                ..event(Step::Refused, 5_120)
            },
            request(Step::Trigger, 12_310),
            took(request(Step::Pack, 12_930), 0.32),
            moved(took(request(Step::Commit, 12_940), 0.01), 12 << 20),
            moved(took(request(Step::Dump, 13_000), 0.5), 64 << 20),
            moved(took(request(Step::Freeze, 13_000), 0.83), 64 << 20),
            preemption(Step::Trigger, 90_000),
            took(preemption(Step::Pack, 90_400), 0.3),
            moved(took(preemption(Step::Commit, 90_410), 0.01), 13 << 20),
            moved(took(preemption(Step::Freeze, 90_500), 0.5), 64 << 20),
            preemption(Step::Requeue, 90_600),
            moved(took(Event { image: Some(2), ..run(event(Step::Verify, 92_700)) }, 0.12), 65 << 20),
            moved(took(Event { image: Some(2), ..run(event(Step::Restore, 92_900)) }, 0.2), 64 << 20),
            Event {
                message: Some("ports 8888:40123".into()),
                ..took(run(event(Step::Resume, 93_310)), 0.61)
            },
        ]
    }

    #[test]
    fn a_timeline_as_it_reads() {
        let golden = "
    AFTER  RUN  NODE  STEP     IMAGE    TOOK     BYTES  NOTE
   0.00 s    0  n1    start
   5.12 s             REFUSED                           request: step 7.0 (hostname) is running

  12.31 s             trigger      1                    request
  12.93 s             pack         1  0.32 s
  12.94 s             commit       1  0.01 s  12.0 MiB
  13.00 s             dump         1  0.50 s  64.0 MiB
  13.00 s             freeze       1  0.83 s  64.0 MiB

  1:30.00             trigger      2                    preemption
  1:30.40             pack         2  0.30 s
  1:30.41             commit       2  0.01 s  13.0 MiB
  1:30.50             freeze       2  0.50 s  64.0 MiB
  1:30.60             requeue      2
  1:32.70    1  n2    verify       2  0.12 s  65.0 MiB
  1:32.90             restore      2  0.20 s  64.0 MiB
  1:33.31             resume          0.61 s            ports 8888:40123
";
        let seen = render(&story(), 0, Style::plain());
        assert_eq!(seen, golden.trim_start_matches('\n'), "\n{seen}");
    }

    #[test]
    fn totals_add_up() {
        let totals = Totals::of(&story());
        assert_eq!((totals.committed, totals.committed_bytes), (2, 25 << 20));
        assert!((totals.frozen_s - 1.33).abs() < 1e-9 && (totals.frozen_longest_s - 0.83).abs() < 1e-9);
        assert_eq!((totals.preempted_s.clone(), totals.away_s.clone()), (vec![3.31], vec![3.31]));
        assert_eq!((totals.refused, totals.failed, totals.cold_starts), (1, 0, 0));
        let golden = "  2 images committed, 25.0 MiB in all; frozen 1.33 s in all, 0.83 s at most\n  \
                      preemption to resume: 3.31 s\n  1 checkpoint refused\n";
        assert_eq!(totals.render(Style::plain()), golden);
    }

    #[test]
    fn a_cold_start_is_not_a_resume() {
        let mut events = story();
        events.truncate(12);
        events.push(Event { restart_count: 1, ..event(Step::Start, 95_000) });
        events.push(Event { restart_count: 2, ..event(Step::Resume, 99_000) });
        let totals = Totals::of(&events);
        assert_eq!((totals.cold_starts, totals.away_s.len()), (1, 0));
        assert!(render(&events, 0, Style::plain()).contains("start           "), "it is shown");
        assert!(render(&events, 0, Style::plain()).contains("started anew from its script"));
    }

    #[test]
    fn times_are_as_long_as_they_must_be() {
        let times = [(0, "0.00 s"), (59_990, "59.99 s"), (60_000, "1:00.00"), (93_790_500, "26:03:10.50")];
        for (ms, written) in times {
            assert_eq!(after(5, 5 + ms), written);
        }
        assert_eq!(after(2_000, 500), "-1.50 s");
    }

    proptest! {
        /// Whatever stands in a log: one row an event, and nothing that a terminal acts on.
        #[test]
        fn hostile_events_stay_text(
            node in hostile_text(),
            message in proptest::option::of(hostile_text()),
            seconds in proptest::option::of(any::<f64>()),
            bytes in proptest::option::of(any::<u64>()),
            at_unix_ms in any::<u64>(),
            restart_count in any::<u32>(),
        ) {
            let hostile = Event { at_unix_ms, restart_count, node, message, seconds, bytes, ..event(Step::Failure, 0) };
            let events = [event(Step::Start, 0), hostile.clone(), hostile];
            let seen = render(&events, 0, Style::plain());
            prop_assert_eq!(seen.lines().count(), 4, "{}", seen);
            let acts = |c: &char| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c);
            prop_assert!(seen.chars().find(acts).is_none(), "{:?}", seen);
            Totals::of(&events).render(Style::plain());
        }
    }
}
