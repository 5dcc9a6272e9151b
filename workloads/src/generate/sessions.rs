//! Generated sessions. Each session draws from streams of its own, one per purpose, so that a longer trace
//! begins with the shorter one, and another think-time law leaves the cells' running times as they were.

use super::arrivals::Arrivals;
use super::spec::{MemorySpec, RequestChoice, SessionSpec};
use crate::error::Invalid;
use crate::law::Law;
use crate::session::{Interval, MemoryStep, Session};
use crate::streams::{Purpose, Stream, stream};

const WHO: Purpose = Purpose::named("workloads/who");
const CELLS: Purpose = Purpose::named("workloads/cells");
const THINK: Purpose = Purpose::named("workloads/think");
const BUSY: Purpose = Purpose::named("workloads/busy");
const MEMORY: Purpose = Purpose::named("workloads/memory");
const BROWSER: Purpose = Purpose::named("workloads/browser");

/// No pause or cell lasts longer than this, in nanoseconds (a year): a heavy tail must not overflow time.
const LONGEST_NS: u64 = 365 * 86_400 * 1_000_000_000;

/// Nobody times people or cells finer than this, in nanoseconds, and short numbers make small files.
const TICK_NS: u64 = 1_000_000;

/// Memory comes in pages of this many bytes.
const PAGE_BYTES: u64 = 4096;

/// The most cells of one session.
const CELLS_MAX: f64 = 1e6;

/// A session starts no later than this after the start of its trace, so that its end fits 64 bits.
const TRACE_END_NS: u64 = u64::MAX / 2;

/// Sessions in order of submission, one at a time; the ids count from 0.
#[derive(Debug, Clone)]
pub struct SessionGenerator {
    spec: SessionSpec,
    arrivals: Arrivals,
    seed: u64,
    replication: u64,
    next_id: u64,
}

/// The sessions of one replication.
///
/// # Errors
/// The specification is out of range.
pub fn sessions(spec: &SessionSpec, seed: u64, replication: u64) -> Result<SessionGenerator, Invalid> {
    spec.validate()?;
    let arrivals = Arrivals::new(&spec.arrivals, seed, replication, 0)?;
    Ok(SessionGenerator { spec: spec.clone(), arrivals, seed, replication, next_id: 0 })
}

impl Iterator for SessionGenerator {
    type Item = Session;

    fn next(&mut self) -> Option<Session> {
        let submit_ns = self.arrivals.next().filter(|&ns| ns < TRACE_END_NS)? / TICK_NS * TICK_NS;
        let id = self.next_id;
        self.next_id += 1;
        Some(self.session(id, submit_ns))
    }
}

impl SessionGenerator {
    fn session(&self, id: u64, submit_ns: u64) -> Session {
        let draw = |purpose| stream(self.seed, self.replication, id, purpose);
        let mut who = draw(WHO);
        let user = who.below(u64::from(self.spec.arrivals.users)) as u32;
        let choice = pick(&self.spec.requests, who.uniform());
        let busy = self.cells(submit_ns, &mut draw(CELLS), &mut draw(THINK), &mut draw(BUSY));
        let mut browser = draw(BROWSER);
        let free_ns = busy.last().map_or(submit_ns, |last| last.end_ns);
        let end_ns = free_ns.saturating_add(pause_ns(&self.spec.linger, &mut browser));
        Session {
            id,
            user,
            submit_ns,
            end_ns,
            request: choice.request(),
            memory: memory(&self.spec.memory, choice.memory_bytes, submit_ns, &busy, &mut draw(MEMORY)),
            connected: connected(&self.spec.browser.patience, submit_ns, end_ns, &busy, &mut browser),
            busy: busy.into(),
        }
    }

    fn cells(
        &self,
        submit_ns: u64,
        count: &mut Stream,
        think: &mut Stream,
        run: &mut Stream,
    ) -> Vec<Interval> {
        let cells = log_normal(self.spec.cells.median_cells, self.spec.cells.sigma, count);
        let cells = cells.round().clamp(1.0, CELLS_MAX) as usize;
        let mut busy = Vec::with_capacity(cells.min(1024));
        let mut now_ns = submit_ns;
        for _ in 0..cells {
            let start_ns = now_ns.saturating_add(pause_ns(&self.spec.think, think));
            now_ns = start_ns.saturating_add(pause_ns(&self.spec.busy, run));
            if now_ns >= u64::MAX - LONGEST_NS {
                break;
            }
            busy.push(Interval { start_ns, end_ns: now_ns });
        }
        busy
    }
}

/// A duration in whole milliseconds, at least one and at most a year.
fn pause_ns(law: &Law, stream: &mut Stream) -> u64 {
    law.sample_ns(stream).clamp(TICK_NS, LONGEST_NS).next_multiple_of(TICK_NS)
}

/// A log-normal number; the median itself where `sigma` is 0.
fn log_normal(median: f64, sigma: f64, stream: &mut Stream) -> f64 {
    let p = stream.uniform();
    if sigma > 0.0 { Law::LogNormal { median_s: median, sigma }.quantile(p) } else { median }
}

fn pick(choices: &[RequestChoice], p: f64) -> RequestChoice {
    let total: f64 = choices.iter().map(|choice| choice.weight).sum();
    let mut left = p * total;
    for choice in choices {
        left -= choice.weight;
        if left < 0.0 {
            return *choice;
        }
    }
    choices[choices.len() - 1]
}

/// A step at submission, then one at the end of each cell that makes the session grow, up to `limit_bytes`.
fn memory(
    spec: &MemorySpec,
    limit_bytes: u64,
    submit_ns: u64,
    busy: &[Interval],
    stream: &mut Stream,
) -> Box<[MemoryStep]> {
    let limit_bytes = if limit_bytes == 0 { u64::MAX } else { limit_bytes };
    let amount = |median, sigma, stream: &mut Stream| {
        let pages = log_normal(median, sigma, stream) / PAGE_BYTES as f64;
        (pages.ceil() as u64).saturating_mul(PAGE_BYTES)
    };
    let start = amount(spec.start_median_bytes, spec.start_sigma, stream).min(limit_bytes);
    let mut steps = vec![MemoryStep { at_ns: submit_ns, bytes: start }];
    let mut held = start;
    for cell in busy {
        let grows = stream.chance(spec.growth_chance);
        // Drawn in any case: the chance must not shift the numbers of later cells.
        let growth = amount(spec.growth_median_bytes, spec.growth_sigma, stream);
        let grown = held.saturating_add(growth).min(limit_bytes);
        if grows && grown > held {
            steps.push(MemoryStep { at_ns: cell.end_ns, bytes: grown });
            held = grown;
        }
    }
    steps.into()
}

fn connected(
    patience: &Law,
    submit_ns: u64,
    end_ns: u64,
    busy: &[Interval],
    stream: &mut Stream,
) -> Box<[Interval]> {
    let starts = std::iter::once(submit_ns).chain(busy.iter().map(|cell| cell.start_ns));
    let mut joined: Vec<Interval> = Vec::new();
    for start_ns in starts {
        let until_ns = start_ns.saturating_add(pause_ns(patience, stream)).min(end_ns);
        match joined.last_mut() {
            // A new cell starts the patience anew, so the last word counts, not the longest.
            Some(last) if start_ns <= last.end_ns => last.end_ns = until_ns,
            _ if start_ns < until_ns => joined.push(Interval { start_ns, end_ns: until_ns }),
            _ => {}
        }
    }
    joined.into()
}
