//! Fits a generator of sessions to a trace, in one pass and bounded memory. What a trace does not carry
//! (memory, browser) is filled in plainly, and said in the notes.

use super::fit_durations;
use super::laws::Fits;
use super::reservoir::Reservoir;
use crate::error::TraceError;
use crate::generate::{ArrivalSpec, BrowserSpec, CellsSpec, MemorySpec, RequestChoice, SessionSpec};
use crate::law::Law;
use crate::session::{Interval, NS_PER_S, Session};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const HOUR_NS: u64 = 3600 * NS_PER_S;
const DAY_S: f64 = 86_400.0;

/// The most kinds of request that are told apart while counting, and that are kept.
const REQUESTS_COUNTED_MAX: usize = 4096;
const REQUESTS_KEPT_MAX: usize = 16;

/// A fitted generator and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionFit {
    /// What generates sessions like those of the trace.
    pub spec: SessionSpec,
    /// How many sessions the trace has.
    pub sessions: u64,
    /// For each quantity that follows a law, all laws that were tried: `think`, `busy`, `linger`.
    pub quantities: Vec<(&'static str, Fits)>,
    /// What was assumed because the trace does not say.
    pub notes: Vec<String>,
}

/// Fits a generator to sessions in order of submission; `file` is for messages only.
///
/// # Errors
/// The first error of `sessions`, or a trace in which nothing ever computes.
pub fn fit_sessions(
    file: &Path,
    sessions: impl Iterator<Item = Result<Session, TraceError>>,
) -> Result<SessionFit, TraceError> {
    let mut tally = Tally::new();
    for session in sessions {
        tally.add(&session?);
    }
    tally.finish(file)
}

/// Mean and spread of logarithms, one at a time (Welford 1962).
#[derive(Default)]
struct Logs {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Logs {
    fn add(&mut self, value: f64) {
        let log = value.max(1.0).ln();
        self.count += 1.0;
        let off = log - self.mean;
        self.mean += off / self.count;
        self.squares += off * (log - self.mean);
    }

    fn median(&self) -> f64 {
        self.mean.exp()
    }

    fn sigma(&self) -> f64 {
        if self.count > 0.0 { (self.squares / self.count).sqrt() } else { 0.0 }
    }
}

struct Tally {
    sessions: u64,
    without_cells: u64,
    users: BTreeSet<u32>,
    by_hour_of_week: [u64; 168],
    last_submit_ns: u64,
    cells: Logs,
    think: Reservoir,
    busy: Reservoir,
    linger: Reservoir,
    memory_start: Logs,
    memory_growth: Logs,
    cells_with_memory: u64,
    patience_s: f64,
    disconnections: u64,
    requests: BTreeMap<(u32, u32, u64), u64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            sessions: 0,
            without_cells: 0,
            users: BTreeSet::new(),
            by_hour_of_week: [0; 168],
            last_submit_ns: 0,
            cells: Logs::default(),
            think: Reservoir::new("fit/think"),
            busy: Reservoir::new("fit/busy"),
            linger: Reservoir::new("fit/linger"),
            memory_start: Logs::default(),
            memory_growth: Logs::default(),
            cells_with_memory: 0,
            patience_s: 0.0,
            disconnections: 0,
            requests: BTreeMap::new(),
        }
    }

    fn add(&mut self, session: &Session) {
        self.sessions += 1;
        self.users.insert(session.user);
        self.by_hour_of_week[(session.submit_ns / HOUR_NS % 168) as usize] += 1;
        self.last_submit_ns = self.last_submit_ns.max(session.submit_ns);
        let asked = session.request;
        let kind = (asked.cores_milli, asked.gpus, asked.memory_bytes);
        if self.requests.len() < REQUESTS_COUNTED_MAX || self.requests.contains_key(&kind) {
            *self.requests.entry(kind).or_default() += 1;
        }
        self.add_cells(session);
        self.add_memory(session);
        self.add_patience(session);
    }

    fn add_cells(&mut self, session: &Session) {
        let Some(last) = session.busy.last() else {
            self.without_cells += 1;
            return;
        };
        self.cells.add(session.busy.len() as f64);
        let mut free_ns = session.submit_ns;
        for cell in &session.busy {
            add_span(&mut self.think, free_ns, cell.start_ns);
            add_span(&mut self.busy, cell.start_ns, cell.end_ns);
            free_ns = cell.end_ns;
        }
        add_span(&mut self.linger, last.end_ns, session.end_ns);
    }

    fn add_memory(&mut self, session: &Session) {
        let Some(first) = session.memory.first() else { return };
        self.memory_start.add(first.bytes as f64);
        self.cells_with_memory += session.busy.len() as u64;
        for pair in session.memory.windows(2) {
            if pair[1].bytes > pair[0].bytes {
                self.memory_growth.add((pair[1].bytes - pair[0].bytes) as f64);
            }
        }
    }

    /// Patience is seen only when it runs out before the next cell, so the estimate is the one for censored
    /// exponential times: all waiting over the number of disconnections.
    fn add_patience(&mut self, session: &Session) {
        if session.connected.is_empty() {
            return;
        }
        let starts = std::iter::once(session.submit_ns).chain(session.busy.iter().map(|cell| cell.start_ns));
        let nexts = session.busy.iter().map(|cell| cell.start_ns).chain([session.end_ns]);
        for (start_ns, next_ns) in starts.zip(nexts) {
            let after = session.connected.partition_point(|interval| interval.start_ns <= start_ns);
            let Some(Interval { end_ns, .. }) = after.checked_sub(1).map(|index| session.connected[index])
            else {
                continue;
            };
            if end_ns <= start_ns {
                continue;
            }
            self.disconnections += u64::from(end_ns < next_ns);
            self.patience_s += to_seconds(end_ns.min(next_ns) - start_ns);
        }
    }

    fn finish(self, file: &Path) -> Result<SessionFit, TraceError> {
        let mut notes = Vec::new();
        if self.without_cells > 0 {
            notes.push(format!(
                "{} sessions never computed; generated ones run one cell or more",
                self.without_cells
            ));
        }
        let busy = fit_durations(self.busy.values()).map_err(|_| {
            TraceError::bad(file, 0, "busy_s", "no session ever computes: there is nothing to fit")
        })?;
        let mut quantities = Vec::new();
        let think = law_or_instant("think", &self.think, &mut quantities, &mut notes);
        let linger = law_or_instant("linger", &self.linger, &mut quantities, &mut notes);
        let spec = SessionSpec {
            arrivals: self.arrivals(),
            cells: CellsSpec { median_cells: self.cells.median(), sigma: self.cells.sigma() },
            think,
            busy: busy.best().law,
            linger,
            memory: self.memory(&mut notes),
            browser: self.browser(&mut notes),
            requests: self.requests(&mut notes),
        };
        quantities.insert(1.min(quantities.len()), ("busy", busy));
        spec.validate().map_err(|invalid| invalid.at(file, 0))?;
        Ok(SessionFit { spec, sessions: self.sessions, quantities, notes })
    }

    fn arrivals(&self) -> ArrivalSpec {
        let hours = self.last_submit_ns / HOUR_NS + 1;
        // A rhythm needs the time to be heard: two days for hours, two weeks for days.
        let rhythm = |enough: bool, classes: usize, class: fn(usize) -> usize| {
            if enough { self.weights(hours, classes, class) } else { Vec::new() }
        };
        ArrivalSpec {
            length_days: hours as f64 / 24.0,
            per_day: self.sessions as f64 * 24.0 / hours as f64,
            users: u32::try_from(self.users.len()).unwrap_or(u32::MAX).max(1),
            hourly_weights: rhythm(hours >= 48, 24, |hour| hour % 24),
            daily_weights: rhythm(hours >= 336, 7, |hour| hour / 24),
        }
    }

    /// Arrivals per hour of observation in each class of hours, relative to the mean.
    fn weights(&self, hours: u64, classes: usize, class: fn(usize) -> usize) -> Vec<f64> {
        let (mut arrivals, mut observed) = (vec![0.0; classes], vec![0.0; classes]);
        for hour in 0..168 {
            let times = (hours + 167 - hour as u64) / 168;
            arrivals[class(hour)] += self.by_hour_of_week[hour] as f64;
            observed[class(hour)] += times as f64;
        }
        let mean = self.sessions as f64 / hours as f64;
        arrivals
            .iter()
            .zip(observed)
            .map(|(count, hours): (&f64, f64)| (count / hours.max(1.0) / mean * 1e4).round() / 1e4)
            .collect()
    }

    fn memory(&self, notes: &mut Vec<String>) -> MemorySpec {
        if self.memory_start.count == 0.0 {
            notes.push("the trace has no memory: 1 GiB without growth is assumed".into());
            let bytes = f64::from(1 << 30);
            return MemorySpec {
                start_median_bytes: bytes,
                start_sigma: 0.0,
                growth_chance: 0.0,
                growth_median_bytes: bytes,
                growth_sigma: 0.0,
            };
        }
        MemorySpec {
            start_median_bytes: self.memory_start.median(),
            start_sigma: self.memory_start.sigma(),
            growth_chance: (self.memory_growth.count / (self.cells_with_memory.max(1)) as f64).min(1.0),
            growth_median_bytes: self.memory_growth.median(),
            growth_sigma: self.memory_growth.sigma(),
        }
    }

    fn browser(&self, notes: &mut Vec<String>) -> BrowserSpec {
        if self.disconnections == 0 {
            notes.push("no browser ever disconnects in the trace: patience of a year is assumed".into());
            return BrowserSpec { patience: Law::Constant { value_s: 365.0 * DAY_S } };
        }
        notes.push(
            "patience of the browser: exponential, since most of it is cut short by the next cell".into(),
        );
        BrowserSpec { patience: Law::Exponential { mean_s: self.patience_s / self.disconnections as f64 } }
    }

    fn requests(&self, notes: &mut Vec<String>) -> Vec<RequestChoice> {
        let mut kinds: Vec<_> = self.requests.iter().collect();
        kinds.sort_by_key(|&(kind, count)| (std::cmp::Reverse(*count), *kind));
        if kinds.len() > REQUESTS_KEPT_MAX {
            notes.push(format!(
                "of {} kinds of request the {REQUESTS_KEPT_MAX} most frequent are kept",
                kinds.len()
            ));
        }
        let choice = |(&(cores_milli, gpus, memory_bytes), &count): (&(u32, u32, u64), &u64)| RequestChoice {
            weight: count as f64,
            cores_milli,
            gpus,
            memory_bytes,
        };
        kinds.into_iter().take(REQUESTS_KEPT_MAX).map(choice).collect()
    }
}

/// The best law of a quantity, or a nanosecond where the trace has none of it.
fn law_or_instant(
    name: &'static str,
    sample: &Reservoir,
    quantities: &mut Vec<(&'static str, Fits)>,
    notes: &mut Vec<String>,
) -> Law {
    if let Ok(fits) = fit_durations(sample.values()) {
        let law = fits.best().law;
        quantities.push((name, fits));
        law
    } else {
        notes.push(format!("the trace has no {name} times: a nanosecond is assumed"));
        Law::Constant { value_s: 1e-9 }
    }
}

fn add_span(sample: &mut Reservoir, from_ns: u64, to_ns: u64) {
    if to_ns > from_ns {
        sample.add(to_seconds(to_ns - from_ns));
    }
}

fn to_seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S as f64
}
