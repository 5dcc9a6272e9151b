//! What the demonstration says while it runs: a line for each step once it is done, and a spinner until then.
//!
//! People read standard output; with `--json` programs do, and people standard error. Colours and the spinner are
//! for terminals alone, so that a log of a run stays plain text.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use console::{Style, measure_text_width, style, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use stasis_contract::format_seconds;

use crate::error::{Error, Result};

/// Columns that a line has.
pub const WIDTH: usize = 98;
/// A command that Ctrl-C ended, as it ends all in the foreground, may be noticed before the signal is.
const SIGNAL_PAUSE: Duration = Duration::from_millis(200);
/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// A step that is done.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// What was done, as the screen said it.
    pub step: String,
    /// How long it took.
    pub seconds: f64,
}

/// Where the demonstration is told.
pub struct Screen {
    to_stderr: bool,
    terminal: bool,
    colour: bool,
    hushed: AtomicBool,
    spinner: Mutex<Option<ProgressBar>>,
    done: Mutex<Vec<Done>>,
}

impl Screen {
    /// A screen on standard output, or on standard error if standard output is for a program.
    pub fn new(to_stderr: bool) -> Self {
        let terminal =
            if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = terminal && !plain;
        let hushed = AtomicBool::new(false);
        Self { to_stderr, terminal, colour, hushed, spinner: Mutex::default(), done: Mutex::default() }
    }

    /// Prints a line.
    pub fn line(&self, line: &str) {
        if !self.hushed.load(Ordering::Relaxed) {
            self.print(line);
        }
    }

    /// From now on nothing is told of what is breaking off, but through what this returns.
    pub fn hush(&self) -> impl Fn(&str) + '_ {
        self.hushed.store(true, Ordering::Relaxed);
        |line| self.print(line)
    }

    fn print(&self, line: &str) {
        // Nobody reads it any more if that fails, and the cluster has to be taken down all the same.
        let _ = if self.to_stderr {
            writeln!(std::io::stderr(), "{}", line.trim_end())
        } else {
            writeln!(std::io::stdout(), "{}", line.trim_end())
        };
    }

    /// Prints a heading.
    pub fn heading(&self, text: &str) {
        self.line("");
        self.line(&self.paint(text, &Style::new().bold()));
    }

    /// Text in a style, on a terminal that shows colours.
    pub fn paint(&self, text: &str, how: &Style) -> String {
        how.apply_to(text).force_styling(self.colour).to_string()
    }

    /// Does a step: shows `doing` until it is done, and then what `work` says of it.
    pub fn step<T>(&self, doing: &str, work: impl FnOnce(&Self) -> Result<(String, T)>) -> Result<T> {
        let started = Instant::now();
        self.spin(doing);
        let outcome = work(self);
        self.still();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok((said, value)) => {
                self.tick(true, &said, &format_seconds(seconds));
                lock(&self.done).push(Done { step: said, seconds });
                Ok(value)
            }
            Err(source) => {
                std::thread::sleep(SIGNAL_PAUSE);
                self.tick(false, doing, &format_seconds(seconds));
                Err(Error::Step { step: doing.to_owned(), source: Box::new(source) })
            }
        }
    }

    /// Changes what the spinner of the step that is being done says.
    pub fn now(&self, doing: &str) {
        if let Some(spinner) = &*lock(&self.spinner) {
            spinner.set_message(doing.to_owned());
        }
    }

    /// A line with a tick or a cross before it, and something at its right end. Text that is too long goes on below.
    pub fn tick(&self, good: bool, text: &str, right: &str) {
        let (mark, colour) =
            if good { ("✔", Style::new().green()) } else { ("✘", Style::new().red().bold()) };
        let mark = self.paint(mark, &colour);
        let right = self.paint(right, &Style::new().dim());
        let room = WIDTH.saturating_sub(5 + measure_text_width(&right));
        let mut lines = wrap(text, room).into_iter();
        let first = lines.next().unwrap_or_default();
        let gap = " ".repeat(room.saturating_sub(measure_text_width(&first)) + 1);
        self.line(&format!("  {mark} {first}{gap}{right}"));
        lines.for_each(|line| self.line(&format!("    {line}")));
    }

    /// The steps that were done.
    pub fn steps(&self) -> Vec<Done> {
        lock(&self.done).clone()
    }

    /// Stops the spinner, if one turns.
    pub fn still(&self) {
        if let Some(spinner) = lock(&self.spinner).take() {
            spinner.finish_and_clear();
        }
    }

    /// Shows that something is going on.
    pub fn spin(&self, doing: &str) {
        if !self.terminal || self.hushed.load(Ordering::Relaxed) {
            return;
        }
        let target = if self.to_stderr { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
        let spinner = ProgressBar::with_draw_target(None, target);
        let colours = if self.colour { "{spinner:.cyan}" } else { "{spinner}" };
        if let Ok(look) = ProgressStyle::with_template(&format!("  {colours} {{msg}} … {{elapsed}}")) {
            spinner.set_style(look);
        }
        spinner.set_message(doing.to_owned());
        spinner.enable_steady_tick(TURN);
        *lock(&self.spinner) = Some(spinner);
    }

    /// A failure's report: a title, and text as it is.
    pub fn quote(&self, title: &str, text: &str) {
        self.line("");
        self.line(&style(title).bold().force_styling(self.colour).to_string());
        let shown = if text.trim().is_empty() { "(nothing)" } else { text.trim_end() };
        for line in shown.lines() {
            self.line(&format!("  {}", truncate_str(line, WIDTH, "…").trim_end()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Breaks text at spaces into lines of at most `width` columns, where that can be.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrap_line(line, width)).collect()
}

fn wrap_line(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_goes_on_below() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  kept apart", 40), ["  kept apart"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrap("one\ntwo three", 9), ["one", "two three"]);
    }

    #[test]
    fn a_failed_step_is_named() {
        let screen = Screen::new(true);
        let late = || Error::Late { what: "answer".into(), seconds: 3 };
        let failed = screen.step("asking", |_| Err::<(String, ()), _>(late())).unwrap_err();
        assert_eq!(failed.to_string(), "asking: no answer within 3 s");
        assert!(screen.steps().is_empty());
    }
}
