//! A histogram of waits whose size does not grow with the number of waits: buckets of equal width within
//! each power of two, so that a percentile is right to better than one part in 64.

use serde::Serialize;

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;

/// Counts of durations in nanoseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
}

/// What a report needs of a histogram, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Summary {
    /// How many durations there were.
    pub count: u64,
    /// Their mean.
    pub mean_s: f64,
    /// The median.
    pub p50_s: f64,
    /// What 95 % do not exceed.
    pub p95_s: f64,
    /// What 99 % do not exceed.
    pub p99_s: f64,
    /// The longest.
    pub max_s: f64,
}

fn bucket_of(ns: u64) -> usize {
    let exponent = (ns | 1).ilog2().saturating_sub(SUB_BITS - 1);
    ((u64::from(exponent) << (SUB_BITS - 1)) + (ns >> exponent)) as usize
}

/// The largest value of a bucket.
fn upper_ns(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let exponent = (bucket >> (SUB_BITS - 1)) - 1;
    let mantissa = bucket - (exponent << (SUB_BITS - 1));
    ((u128::from(mantissa + 1) << exponent) - 1).min(u128::from(u64::MAX)) as u64
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, ns: u64) {
        let bucket = bucket_of(ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds all of another histogram.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The sum of all durations in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// The smallest duration in seconds that a share `p` does not exceed; 0 if there are none.
    pub fn percentile_s(&self, p: f64) -> f64 {
        let rank = ((p * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_ns(bucket).min(self.max_ns) as f64 / 1e9;
            }
        }
        0.0
    }

    /// What a report needs.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.total,
            mean_s: if self.total == 0 { 0.0 } else { self.sum_s() / self.total as f64 },
            p50_s: self.percentile_s(0.5),
            p95_s: self.percentile_s(0.95),
            p99_s: self.percentile_s(0.99),
            max_s: self.max_ns as f64 / 1e9,
        }
    }

    /// The share of durations at or below each of `points` seconds: a distribution to plot.
    pub fn shares_at(&self, points_s: &[f64]) -> Vec<f64> {
        let share = |&point_s: &f64| {
            let limit = bucket_of((point_s * 1e9) as u64);
            let below: u64 = self.counts.iter().take(limit + 1).sum();
            if self.total == 0 { 1.0 } else { below as f64 / self.total as f64 }
        };
        points_s.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_one_says_zero() {
        assert_eq!(Histogram::default().summary(), Summary::default());
    }

    proptest! {
        #[test]
        fn buckets_are_in_order_and_narrow(ns: u64) {
            let bucket = bucket_of(ns);
            let upper = upper_ns(bucket);
            prop_assert!(upper >= ns && upper - ns <= ns / 32, "{ns} {bucket} {upper}");
            prop_assert!(bucket == 0 || upper_ns(bucket - 1) < ns);
        }

        #[test]
        fn percentiles_are_those_of_the_sorted_list(mut list in prop::collection::vec(0u64..1 << 50, 1..200)) {
            let mut histogram = Histogram::default();
            for &ns in &list {
                histogram.add(ns);
            }
            list.sort_unstable();
            for p in [0.5, 0.95, 0.99, 1.0] {
                let rank = ((p * list.len() as f64).ceil() as usize).max(1) - 1;
                let (want, found) = (list[rank] as f64 / 1e9, histogram.percentile_s(p));
                prop_assert!(found >= want * 0.999_999 && found <= want * 1.04 + 1e-9, "{p}: {want} {found}");
            }
        }
    }
}
