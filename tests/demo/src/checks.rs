//! What must be as it was before: each thing asked on the first node and again on the second, and compared.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::session::Facts;

/// The most that the monotonic clock may go on between two lines of the file, which are written every 50 ms, beyond
/// the time for which the session was frozen: the wait in the queue is hidden from it, and this machine may be busy.
const STEP_S_MAX: f64 = 1.0;

/// One thing compared.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// Whether it is as it was.
    pub holds: bool,
    /// What was seen, for people.
    pub said: String,
}

/// What was seen on both nodes.
pub struct Seen<'a> {
    /// Before the preemption.
    pub before: &'a Facts,
    /// On the other node.
    pub after: &'a Facts,
    /// The node's name there.
    pub node: &'a str,
    /// All numbers that the loop printed; `None` for a line that is none.
    pub ticks: &'a [Option<u32>],
    /// How many of them were heard before the connection broke.
    pub ticks_before: usize,
    /// The file, read on the second node's side.
    pub file: &'a str,
    /// How long the session was frozen.
    pub frozen_s: f64,
}

impl Seen<'_> {
    /// All comparisons.
    pub fn checks(&self) -> Vec<Check> {
        vec![self.kernel(), self.array(), self.counter(), self.terminal(), self.file(), self.clock()]
    }

    fn kernel(&self) -> Check {
        let (before, after) = (self.before, self.after);
        let same = before.kernels == after.kernels && before.data.pid == after.data.pid;
        let said = format!(
            "id {} and pid {} {}, host name now {}",
            after.kernels[0],
            after.data.pid,
            if same { "as before" } else { "CHANGED" },
            after.data.host
        );
        Check { what: "kernel", holds: same && after.data.host == self.node, said }
    }

    fn array(&self) -> Check {
        let (before, after) = (&self.before.data.checksum, &self.after.data.checksum);
        let said = if before == after {
            format!("checksum {after}, equal")
        } else {
            format!("checksum {after}, but it was {before}")
        };
        Check { what: "array", holds: before == after, said }
    }

    fn counter(&self) -> Check {
        let wrong = self.ticks.iter().zip(1..).find(|(tick, due)| **tick != Some(*due));
        let goes_on = self.ticks.len() > self.ticks_before && self.ticks_before > 0;
        let said = match wrong {
            None => format!(
                "went on from {} to {}, no line missing or doubled",
                self.ticks_before,
                self.ticks.len()
            ),
            Some((Some(tick), due)) => format!("printed {tick} where {due} was due"),
            Some((None, due)) => format!("printed a torn line where {due} was due"),
        };
        Check { what: "loop", holds: wrong.is_none() && goes_on, said }
    }

    fn terminal(&self) -> Check {
        let (before, after) = (&self.before.shell, &self.after.shell);
        let holds = before == after && after.starts_with("mood=curious");
        let said =
            if holds { format!("{after}, as before") } else { format!("{after}, but it was {before}") };
        Check { what: "terminal", holds, said }
    }

    fn file(&self) -> Check {
        let (before, after) = (&self.before.data, &self.after.data);
        let same = (&before.file, before.fd, before.inode) == (&after.file, after.fd, after.inode);
        let lines = lines(self.file);
        let whole = lines.iter().zip(1..).all(|((number, _), due)| *number == due);
        let grows = after.lines > before.lines && lines.len() as u32 >= after.lines;
        let said = format!(
            "descriptor {} still open, {} lines then and {} now{}",
            after.fd,
            before.lines,
            lines.len(),
            if whole { ", in order" } else { ", NOT in order" }
        );
        Check { what: "file", holds: same && whole && grows, said }
    }

    fn clock(&self) -> Check {
        let times: Vec<f64> = lines(self.file).into_iter().map(|(_, at)| at).collect();
        let steps = || times.windows(2).map(|pair| pair[1] - pair[0]);
        let (least, most) = (steps().fold(f64::INFINITY, f64::min), steps().fold(0.0, f64::max));
        let forward = self.after.data.monotonic_s > self.before.data.monotonic_s && least >= 0.0;
        let said = format!("monotonic, never back; its longest step between two lines is {most:.2} s");
        let backward = format!("went back by {:.2} s", -least);
        let holds = forward && most <= self.frozen_s + STEP_S_MAX;
        Check { what: "clock", holds, said: if least < 0.0 { backward } else { said } }
    }
}

/// Fails with the names of what does not hold.
pub fn require(checks: &[Check]) -> Result<()> {
    let lost: Vec<&'static str> =
        checks.iter().filter(|check| !check.holds).map(|check| check.what).collect();
    if lost.is_empty() { Ok(()) } else { Err(Error::Lost(lost)) }
}

/// The lines of the file that have ended: a number and a time each. A line that is none counts as number 0.
fn lines(file: &str) -> Vec<(u32, f64)> {
    let whole = file.rfind('\n').map_or("", |end| &file[..end]);
    let line = |line: &str| {
        let (number, time) = line.split_once(',')?;
        Some((number.parse().ok()?, time.parse().ok()?))
    };
    whole.lines().map(|text| line(text).unwrap_or((0, 0.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Data;

    fn facts(lines: u32, monotonic_s: f64, host: &str) -> Facts {
        let data = Data {
            checksum: "c0ffee".into(),
            pid: 9,
            host: host.into(),
            lines,
            file: "/home/alice/measurements.csv".into(),
            fd: 40,
            inode: 7,
            monotonic_s,
        };
        Facts { kernels: ["a".into(), "b".into()], data, tick: 2, shell: "mood=curious, pid 30".into() }
    }

    fn broken(change: impl FnOnce(&mut Facts), ticks: &[u32], file: &str) -> Vec<&'static str> {
        let (before, mut after) = (facts(1, 10.0, "n1"), facts(3, 11.0, "n2"));
        change(&mut after);
        let ticks: Vec<_> = ticks.iter().copied().map(Some).collect();
        let seen = Seen {
            before: &before,
            after: &after,
            node: "n2",
            ticks: &ticks,
            ticks_before: 2,
            file,
            frozen_s: 0.5,
        };
        seen.checks().into_iter().filter(|check| !check.holds).map(|check| check.what).collect()
    }

    const FILE: &str = "1,10.0\n2,10.1\n3,10.9\n4,1";

    #[test]
    fn what_is_as_before_holds() {
        assert_eq!(broken(|_| {}, &[1, 2, 3], FILE), [""; 0]);
    }

    #[test]
    fn each_loss_is_found() {
        assert_eq!(broken(|after| after.data.checksum.clear(), &[1, 2, 3], FILE), ["array"]);
        assert_eq!(broken(|after| after.kernels[1] = "gone".into(), &[1, 2, 3], FILE), ["kernel"]);
        assert_eq!(broken(|after| "n1".clone_into(&mut after.data.host), &[1, 2, 3], FILE), ["kernel"]);
        assert_eq!(
            broken(|after| "mood=, pid 9".clone_into(&mut after.shell), &[1, 2, 3], FILE),
            ["terminal"]
        );
        assert_eq!(broken(|after| after.data.inode = 8, &[1, 2, 3], FILE), ["file"]);
        for ticks in [&[1, 2][..], &[1, 2, 2, 3], &[1, 2, 4]] {
            assert_eq!(broken(|_| {}, ticks, FILE), ["loop"], "{ticks:?}");
        }
        assert_eq!(broken(|_| {}, &[1, 2, 3], "1,10.0\n3,10.1\n4,10.2\n"), ["file"]);
        assert_eq!(broken(|_| {}, &[1, 2, 3], "1,10.0\n2,9.0\n3,10.2\n"), ["clock"]);
        assert_eq!(broken(|_| {}, &[1, 2, 3], "1,10.0\n2,20.0\n3,20.2\n"), ["clock"]);
    }
}
