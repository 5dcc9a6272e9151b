//! How many sessions were in which state over time, in a fixed number of buckets: when time outgrows them,
//! neighbours are merged and the buckets are twice as wide.

use serde::Serialize;

/// States that are told apart.
pub const STATES: [&str; 6] = ["computing", "idle", "starting", "dumping", "suspended", "waiting"];

const BUCKETS: usize = 256;
/// A power of two of nanoseconds, about a minute, so that widths stay exact.
const FIRST_WIDTH_NS: u64 = 1 << 36;

/// Time-weighted counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Occupancy {
    now: [u32; 6],
    at_ns: u64,
    width_ns: u64,
    /// Session nanoseconds by bucket and state.
    sums: Vec<[u64; 6]>,
}

/// A series to plot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Width of a bucket in hours.
    pub width_h: f64,
    /// Mean number of sessions in each state, by bucket; the states are those of [`STATES`].
    pub sessions: Vec<[f64; 6]>,
}

impl Default for Occupancy {
    fn default() -> Self {
        Self { now: [0; 6], at_ns: 0, width_ns: FIRST_WIDTH_NS, sums: Vec::new() }
    }
}

impl Occupancy {
    /// One session leaves a state and enters another.
    pub fn change(&mut self, now_ns: u64, from: Option<usize>, to: Option<usize>) {
        self.advance(now_ns);
        if let Some(state) = from {
            self.now[state] -= 1;
        }
        if let Some(state) = to {
            self.now[state] += 1;
        }
    }

    fn advance(&mut self, now_ns: u64) {
        while self.at_ns < now_ns {
            let mut bucket = (self.at_ns / self.width_ns) as usize;
            while bucket >= BUCKETS {
                self.merge();
                bucket = (self.at_ns / self.width_ns) as usize;
            }
            if bucket >= self.sums.len() {
                self.sums.resize(bucket + 1, [0; 6]);
            }
            let until_ns = now_ns.min((bucket as u64 + 1).saturating_mul(self.width_ns));
            let span_ns = until_ns - self.at_ns;
            for (sum, &count) in self.sums[bucket].iter_mut().zip(&self.now) {
                *sum = sum.saturating_add(span_ns.saturating_mul(u64::from(count)));
            }
            self.at_ns = until_ns;
        }
    }

    fn merge(&mut self) {
        let merged = self.sums.chunks(2).map(|pair| {
            let mut sum = pair[0];
            if let Some(second) = pair.get(1) {
                sum.iter_mut().zip(second).for_each(|(a, b)| *a = a.saturating_add(*b));
            }
            sum
        });
        self.sums = merged.collect();
        self.width_ns *= 2;
    }

    /// The series so far.
    pub fn series(&self) -> Series {
        let mut sessions: Vec<[f64; 6]> =
            self.sums.iter().map(|sums| sums.map(|sum| sum as f64 / self.width_ns as f64)).collect();
        // The last bucket is not full.
        let last_ns = self.at_ns % self.width_ns;
        if let Some(last) = sessions.last_mut().filter(|_| last_ns > 0) {
            *last = last.map(|mean| mean * self.width_ns as f64 / last_ns as f64);
        }
        Series { width_h: self.width_ns as f64 / 3.6e12, sessions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_time_is_kept_when_buckets_merge() {
        let mut occupancy = Occupancy::default();
        occupancy.change(0, None, Some(0));
        occupancy.change(FIRST_WIDTH_NS * 300, Some(0), Some(4));
        occupancy.change(FIRST_WIDTH_NS * 1000, Some(4), None);
        let series = occupancy.series();
        let hours = |state: usize| series.sessions.iter().map(|s| s[state]).sum::<f64>() * series.width_h;
        let unit_h = FIRST_WIDTH_NS as f64 / 3.6e12;
        assert!(series.sessions.len() <= BUCKETS);
        assert!((hours(0) / unit_h - 300.0).abs() < 1e-6 && (hours(4) / unit_h - 700.0).abs() < 1e-6);
    }
}
