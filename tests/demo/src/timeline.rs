//! The walk from the preemption to the first answer elsewhere: spans made of the event log, and a chart of them.
//!
//! An event says when its step ended and how long it took, so its span is laid out backwards from there. What no event
//! reports is what lies between two of them: leaving the node, and waiting in the queue.

use console::Style;
use serde::Serialize;
use stasis_contract::{Event, Step, format_bytes, format_seconds};

/// Columns of the chart.
const CHART: usize = 48;
/// Parts of a column that a bar can end at, from none to nearly whole.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// One step of the walk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Its name.
    pub step: &'static str,
    /// Where it happened.
    pub node: String,
    /// When it began, in seconds since the preempting job was submitted.
    pub start_s: f64,
    /// How long it took.
    pub seconds: f64,
    /// What it moved.
    pub bytes: Option<u64>,
    /// Whether it is a part of the span before it that is not.
    pub part: bool,
}

/// What all of it adds up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    /// How long the session's processes stood still before they were safe.
    pub frozen_s: f64,
    /// From Slurm's notice to the kernel's first answer on the other node.
    pub notice_to_answer_s: f64,
    /// From the submission of the preempting job to the kernel's first answer on the other node.
    pub submit_to_answer_s: f64,
    /// Memory of the session when it was dumped.
    pub dumped_bytes: u64,
    /// What of it is in the store.
    pub stored_bytes: u64,
}

/// Moments that no event tells.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// The preempting job was submitted.
    pub submitted_unix_ms: u64,
    /// The kernel gave its first answer on the other node.
    pub answered_unix_ms: u64,
}

/// The walk in the order in which its steps began.
pub fn spans(events: &[Event], moments: Moments) -> Vec<Span> {
    let zero = moments.submitted_unix_ms;
    let second = |at_unix_ms: u64| (at_unix_ms as f64 - zero as f64) / 1000.0;
    let find = |step| events.iter().rev().find(|event| event.step == step);
    let end = |step| find(step).map(|event| second(event.at_unix_ms));
    let took = |step| find(step).and_then(|event| event.seconds).unwrap_or(0.0);
    let bytes = |step| find(step).and_then(|event| event.bytes);
    let node = |step| find(step).map(|event| event.node.clone()).unwrap_or_default();
    let mut spans = Vec::new();
    let mut add = |step, node: String, span: (Option<f64>, Option<f64>), bytes, part| {
        if let (Some(start_s), Some(end_s)) = span {
            spans.push(Span { step, node, start_s, seconds: (end_s - start_s).max(0.0), bytes, part });
        }
    };
    let back = |step| (end(step).map(|at| at - took(step)), end(step));
    add("trigger", node(Step::Trigger), (Some(0.0), end(Step::Trigger)), None, false);
    let (frozen, thawed) = back(Step::Freeze);
    add("freeze", node(Step::Freeze), (frozen, thawed), None, false);
    // The log has the dump when all is over; it is the first thing that happens to frozen processes.
    let dumped = frozen.filter(|_| find(Step::Dump).is_some()).map(|at| at + took(Step::Dump));
    add("dump", node(Step::Dump), (frozen, dumped), bytes(Step::Dump), true);
    add("pack", node(Step::Pack), back(Step::Pack), bytes(Step::Pack), true);
    add("commit", node(Step::Commit), back(Step::Commit), bytes(Step::Commit), true);
    add("requeue", node(Step::Requeue), (thawed, end(Step::Requeue)), None, false);
    let (hook, resumed) = back(Step::Resume);
    add("queue wait", "-".to_owned(), (end(Step::Requeue), hook), None, false);
    add("resume", node(Step::Resume), (hook, resumed), None, false);
    add("verify", node(Step::Verify), back(Step::Verify), bytes(Step::Verify), true);
    add("restore", node(Step::Restore), back(Step::Restore), bytes(Step::Restore), true);
    let answered = Some(second(moments.answered_unix_ms));
    add("first answer", node(Step::Resume), (resumed, answered), None, false);
    spans
}

/// The sums.
pub fn totals(events: &[Event], moments: Moments) -> Totals {
    let find = |step| events.iter().rev().find(|event| event.step == step);
    let since = |from: u64| moments.answered_unix_ms.saturating_sub(from) as f64 / 1000.0;
    let notice = find(Step::Trigger).map_or(moments.submitted_unix_ms, |event| event.at_unix_ms);
    Totals {
        frozen_s: find(Step::Freeze).and_then(|event| event.seconds).unwrap_or(0.0),
        notice_to_answer_s: since(notice),
        submit_to_answer_s: since(moments.submitted_unix_ms),
        dumped_bytes: find(Step::Dump).and_then(|event| event.bytes).unwrap_or(0),
        stored_bytes: find(Step::Commit).and_then(|event| event.bytes).unwrap_or(0),
    }
}

/// The chart, one span a line under a scale; `paint` colours a text for terminals that can.
pub fn chart(spans: &[Span], paint: impl Fn(&str, &Style) -> String) -> Vec<String> {
    let end_s = spans.iter().map(|span| span.start_s + span.seconds).fold(0.1, f64::max);
    let tick_s = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0];
    let tick_s = tick_s.into_iter().find(|tick_s| end_s / tick_s <= 8.0).unwrap_or(100.0);
    let column_s = end_s / CHART as f64;
    let first = spans.first().map(|span| span.node.clone()).unwrap_or_default();
    let head =
        format!("  {:<14} {:<4} {:>7}  {:>9}  {}", "step", "node", "took", "bytes", scale(tick_s, column_s));
    let mut lines = vec![paint(&head, &Style::new().dim())];
    for span in spans {
        let name = if span.part { format!("  {}", span.step) } else { span.step.to_owned() };
        let bytes = span.bytes.map(format_bytes).unwrap_or_default();
        let colour = match (span.node.as_str(), span.part) {
            ("-", _) => Style::new().dim(),
            (node, part) => {
                let style = if node == first { Style::new().yellow() } else { Style::new().green() };
                if part { style.dim() } else { style }
            }
        };
        let (before, bar) = bar(span, column_s);
        let took = format_seconds(span.seconds);
        let text = format!("  {name:<14} {:<4} {took:>7}  {bytes:>9}  {before}", span.node);
        lines.push(text + &paint(&bar, &colour));
    }
    lines
}

/// Numbers of seconds where they belong.
fn scale(tick_s: f64, column_s: f64) -> String {
    let mut text = String::new();
    for number in 0.. {
        let column = (f64::from(number) * tick_s / column_s).round() as usize;
        let shown = if tick_s < 1.0 {
            format!("{:.1}", f64::from(number) * tick_s)
        } else {
            (f64::from(number) * tick_s).to_string()
        };
        if column + shown.len() > CHART {
            break;
        }
        text.push_str(&" ".repeat(column.saturating_sub(text.len())));
        text.push_str(&shown);
    }
    text + " s"
}

/// Blanks before a bar, and the bar: exact to an eighth of a column at its end, and never invisible.
fn bar(span: &Span, column_s: f64) -> (String, String) {
    let last = CHART - 1;
    let start = ((span.start_s.max(0.0) / column_s) as usize).min(last);
    let eighths = (((span.start_s + span.seconds) / column_s - start as f64) * 8.0).round() as usize;
    let eighths = eighths.clamp(1, 8 * (CHART - start));
    (" ".repeat(start), "█".repeat(eighths / 8) + EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real run wrote, its wait in the queue shortened.
    const LOG: &str = r#"
{"at_unix_ms":7000,"job_id":1,"restart_count":0,"node":"n1","step":"start","message":"ports 8888:8888"}
{"at_unix_ms":20200,"job_id":1,"restart_count":0,"node":"n1","step":"trigger","image":1,"trigger":"preemption"}
{"at_unix_ms":22100,"job_id":1,"restart_count":0,"node":"n1","step":"pack","image":1,"trigger":"preemption","seconds":0.9}
{"at_unix_ms":22150,"job_id":1,"restart_count":0,"node":"n1","step":"commit","image":1,"trigger":"preemption","seconds":0.05,"bytes":104857600}
{"at_unix_ms":22240,"job_id":1,"restart_count":0,"node":"n1","step":"dump","image":1,"trigger":"preemption","seconds":1,"bytes":209715200}
{"at_unix_ms":22240,"job_id":1,"restart_count":0,"node":"n1","step":"freeze","image":1,"trigger":"preemption","seconds":2,"bytes":209715200}
{"at_unix_ms":22300,"job_id":1,"restart_count":0,"node":"n1","step":"requeue","image":1,"trigger":"preemption"}
{"at_unix_ms":24000,"job_id":1,"restart_count":1,"node":"n2","step":"verify","image":1,"seconds":0.5,"bytes":209715200}
{"at_unix_ms":24800,"job_id":1,"restart_count":1,"node":"n2","step":"restore","image":1,"seconds":0.8,"bytes":209715200}
{"at_unix_ms":24810,"job_id":1,"restart_count":1,"node":"n2","step":"resume","seconds":1.4}
"#;

    fn log() -> (Vec<Event>, Moments) {
        let events = LOG.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        (events, Moments { submitted_unix_ms: 20_000, answered_unix_ms: 25_000 })
    }

    #[test]
    fn a_chart_as_it_reads() {
        let (events, moments) = log();
        let seen = chart(&spans(&events, moments), |text, _| text.to_owned()).join("\n");
        let golden = "
  step           node    took      bytes  0         1        2         3        4 s
  trigger        n1    0.20 s             █▉
  freeze         n1    2.00 s               ███████████████████▌
    dump         n1    1.00 s  200.0 MiB    █████████▉
    pack         n1    0.90 s                        █████████▏
    commit       n1    0.05 s  100.0 MiB                      ▋
  requeue        n1    0.06 s                                  █▏
  queue wait     -     1.11 s                                   ██████████▊
  resume         n2    1.40 s                                             ██████████████▏
    verify       n2    0.50 s  200.0 MiB                                   █████▍
    restore      n2    0.80 s  200.0 MiB                                        ████████▏
  first answer   n2    0.19 s                                                           ██";
        assert_eq!(seen, golden.trim_start_matches('\n'), "\n{seen}");
        assert!(seen.lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn totals_add_up() {
        let (events, moments) = log();
        let totals = totals(&events, moments);
        assert!(
            (totals.notice_to_answer_s - 4.8).abs() < 1e-9 && (totals.submit_to_answer_s - 5.0).abs() < 1e-9
        );
        assert!((totals.frozen_s - 2.0).abs() < 1e-9);
        assert_eq!((totals.dumped_bytes, totals.stored_bytes), (200 << 20, 100 << 20));
    }

    #[test]
    fn a_walk_that_broke_off_has_a_chart_too() {
        let (events, moments) = log();
        for length in 0..events.len() {
            chart(&spans(&events[..length], moments), |text, _| text.to_owned());
        }
    }
}
