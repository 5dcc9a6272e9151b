//! Text for terminals: what hostile text becomes, how ages and times are written, colours, tables.
//!
//! A job's name, an event's message and a manifest are written by users, and root looks at them. Nothing in them
//! may move a cursor, recolour a line or reverse its order, so every such text passes [`clean`].

use chrono::{DateTime, Local};
use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use std::io::IsTerminal;

/// Stands for a character that a terminal would act on.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;
/// More of one message than this is no message for a person.
const MESSAGE_CHARS_MAX: usize = 2000;
/// How far a table below a heading is indented.
pub const INDENT: u16 = 2;
/// Names longer than this are cut in tables.
const NAME_CHARS_MAX: usize = 32;

/// The text with every character replaced that is not shown but acted on: controls, and the invisible characters
/// of Unicode that change the direction, join or hide their neighbours.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) { c } else { REPLACEMENT }).collect()
}

fn is_shown(c: char) -> bool {
    let acted_on = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !acted_on
}

/// A message, cleaned, and cut where it is no longer one.
pub fn message(text: &str) -> String {
    cut(&clean(text), MESSAGE_CHARS_MAX)
}

/// A name for a column of a table.
pub fn name(text: &str) -> String {
    cut(&clean(text), NAME_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max - 1).collect();
    kept + "…"
}

/// How long ago something was: `12 s`, `5 min`, `3 h 20 min`, `4 d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Seconds from one time to a later one; none if it is not later, as clocks of nodes may differ.
pub fn seconds_between(from_unix_ms: u64, to_unix_ms: u64) -> u64 {
    to_unix_ms.saturating_sub(from_unix_ms) / 1000
}

/// Wall-clock time where the command runs: `2026-11-22 10:02:11`.
pub fn local_time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || "at an impossible time".into(),
        |time| time.with_timezone(&Local).format("%F %T").to_string(),
    )
}

/// `1 image`, `2 images`.
pub fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// How text is marked on the way out: with colours on a terminal, plainly elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences for colours may be written.
    pub colour: bool,
    /// Whether tables are fitted to the width of a terminal.
    pub terminal: bool,
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Look at it.
    Warning,
    /// Wrong.
    Bad,
    /// Less important than the rest.
    Faint,
    /// A heading.
    Strong,
}

impl Style {
    /// For standard output as it is now. `NO_COLOR` (see no-color.org) and a dumb terminal turn colours off.
    pub fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { colour: terminal && wanted && able, terminal }
    }

    /// Without any marks: files, pipes and tests.
    pub const fn plain() -> Self {
        Self { colour: false, terminal: false }
    }

    /// The text, marked.
    pub fn mark(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A cell of a table, marked.
    pub fn cell(self, tone: Option<Tone>, text: impl ToString) -> Cell {
        let cell = Cell::new(text);
        match tone {
            Some(Tone::Good) => cell.fg(Color::DarkGreen),
            Some(Tone::Warning) => cell.fg(Color::DarkYellow),
            Some(Tone::Bad) => cell.fg(Color::DarkRed),
            Some(Tone::Faint) => cell.add_attribute(comfy_table::Attribute::Dim),
            Some(Tone::Strong) => cell.add_attribute(comfy_table::Attribute::Bold),
            None => cell,
        }
    }

    /// A table without lines, with these headings, which [`lines`] will indent. Headings that begin with `>` are of
    /// columns of numbers.
    pub fn table(self, headings: &[&str], indent: u16) -> Table {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            // A line of the terminal's whole width and an indent would wrap, and look like an empty one.
            if let Some(width) = table.width() {
                table.set_width(width.saturating_sub(indent));
            }
        }
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let plain = headings.iter().map(|heading| heading.trim_start_matches('>'));
        table.set_header(plain.map(|heading| self.cell(Some(Tone::Strong), heading)));
        for (index, heading) in headings.iter().enumerate() {
            let Some(column) = table.column_mut(index) else { continue };
            let last = index + 1 == headings.len();
            column.set_padding((0, if last { 0 } else { 2 }));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
            // The last column takes what is left, and wraps; the others are short and must not.
            column.set_constraint(if last {
                ColumnConstraint::LowerBoundary(Width::Fixed(16))
            } else {
                ColumnConstraint::ContentWidth
            });
        }
        table
    }
}

/// The table's lines, indented, without spaces at their ends.
pub fn lines(table: &Table, indent: u16) -> String {
    let pad = " ".repeat(indent.into());
    let lines = table.lines().map(|line| format!("{pad}{}", line.trim_end()).trim_end().to_owned() + "\n");
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::hostile_text;
    use proptest::prelude::*;

    #[test]
    fn ages_are_short() {
        let written: Vec<String> = [0, 119, 120, 7_199, 7_200, 93_784, 172_800].map(age).into();
        assert_eq!(written, ["0 s", "119 s", "2 min", "119 min", "2 h 00 min", "26 h 03 min", "2 d"]);
        assert_eq!(seconds_between(5_000, 3_000), 0);
    }

    #[test]
    fn what_a_terminal_acts_on_is_replaced() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n\u{9b}31m"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}31m");
        assert_eq!(clean("evil\u{202e}txt.exe\u{200b}"), "evil\u{fffd}txt.exe\u{fffd}");
        assert_eq!(clean("größe 漢字 🙂"), "größe 漢字 🙂");
    }

    #[test]
    fn colours_need_a_terminal() {
        assert_eq!(Style::plain().mark(Tone::Bad, "no"), "no");
        assert_eq!(Style { colour: true, terminal: true }.mark(Tone::Bad, "no"), "\u{1b}[31mno\u{1b}[0m");
    }

    /// What a terminal shows of a line: without escape sequences for colours.
    fn shown(line: &str) -> String {
        let mut parts = line.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn a_table_stays_within_the_terminal() {
        let style = Style { colour: true, terminal: true };
        let mut table = style.table(&[">N", "NOTE"], 4);
        table.set_width(60 - 4);
        table.add_row([style.cell(Some(Tone::Bad), 1), style.cell(Some(Tone::Bad), "words ".repeat(40))]);
        let text = lines(&table, 4);
        assert!(text.lines().count() > 4, "{text}");
        for line in text.lines() {
            assert!(shown(line).chars().count() <= 60, "{line:?}");
        }
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(name(&"x".repeat(40)), "x".repeat(31) + "…");
        assert_eq!(name("short"), "short");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_survives(text in hostile_text()) {
            let cleaned = clean(&text);
            prop_assert!(cleaned.chars().all(is_shown));
            prop_assert_eq!(cleaned.chars().count(), text.chars().count());
        }

        #[test]
        fn no_time_panics(unix_ms in any::<u64>(), seconds in any::<u64>()) {
            local_time(unix_ms);
            age(seconds);
        }
    }
}
