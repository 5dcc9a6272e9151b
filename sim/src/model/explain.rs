//! One session's life, event by event, for `run --explain`.

use std::fmt::Write as _;

/// What is written about the session that was asked for; nothing if none was.
#[derive(Debug, Default)]
pub struct Explain {
    session: Option<u64>,
    /// One line per event.
    pub lines: Vec<String>,
}

impl Explain {
    /// Writes about session `id` of the trace.
    pub fn of(id: Option<u64>) -> Self {
        Self { session: id, lines: Vec::new() }
    }

    /// Notes what happens to session `id` at `now_ns`, if it is the one.
    pub fn say(&mut self, id: u64, now_ns: u64, what: impl FnOnce() -> String) {
        if self.session == Some(id) {
            let mut line = clock(now_ns);
            let _ = write!(line, "  {}", what());
            self.lines.push(line);
        }
    }
}

/// Simulated time as `3d 04:05:06.7`.
pub fn clock(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    let (day, rest) = (tenths / 864_000, tenths % 864_000);
    let (hour, minute) = (rest / 36_000, rest / 600 % 60);
    format!("{day:>3}d {hour:02}:{minute:02}:{:04.1}", (rest % 600) as f64 / 10.0)
}
