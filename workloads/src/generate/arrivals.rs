//! Arrivals of a Poisson process with a daily and a weekly rhythm, drawn exactly by inversion: unit
//! exponential gaps are spent at the rate of the hour they fall in (Çinlar 1975; Devroye 1986, VI.1.3). One
//! number per arrival, so a change of rhythm moves arrivals and does not redraw them.

use super::spec::ArrivalSpec;
use crate::error::Invalid;
use crate::law::seconds_to_ns;
use crate::streams::{Purpose, Stream, stream};

/// Draws the arrivals.
const ARRIVALS: Purpose = Purpose::named("workloads/arrivals");

const HOUR_S: f64 = 3600.0;
const HOURS_PER_WEEK: usize = 168;

/// Times of arrival in nanoseconds, rising.
#[derive(Debug, Clone)]
pub struct Arrivals {
    /// Arrivals per second in each hour of the week.
    rates: Vec<f64>,
    stream: Stream,
    now_s: f64,
    length_s: f64,
}

impl Arrivals {
    /// The arrivals of one replication; `entity` tells several processes of one replication apart.
    ///
    /// # Errors
    /// The specification is out of range.
    pub fn new(spec: &ArrivalSpec, seed: u64, replication: u64, entity: u64) -> Result<Self, Invalid> {
        spec.validate()?;
        let weight = |weights: &[f64], index: usize| weights.get(index).copied().unwrap_or(1.0);
        let of_hour =
            |hour: usize| weight(&spec.hourly_weights, hour % 24) * weight(&spec.daily_weights, hour / 24);
        let mut rates: Vec<f64> = (0..HOURS_PER_WEEK).map(of_hour).collect();
        let per_week = spec.per_day * 7.0;
        let scale = per_week / (rates.iter().sum::<f64>() * HOUR_S);
        for rate in &mut rates {
            *rate *= scale;
        }
        let stream = stream(seed, replication, entity, ARRIVALS);
        Ok(Self { rates, stream, now_s: 0.0, length_s: spec.length_days * 24.0 * HOUR_S })
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let mut owed = -self.stream.uniform().ln();
        while self.now_s < self.length_s {
            let hour = (self.now_s / HOUR_S).floor();
            let rate = self.rates[hour as usize % HOURS_PER_WEEK];
            let hour_end_s = (hour + 1.0) * HOUR_S;
            let in_hour = (hour_end_s - self.now_s) * rate;
            if owed < in_hour {
                self.now_s += owed / rate;
                return (self.now_s < self.length_s).then(|| seconds_to_ns(self.now_s));
            }
            owed -= in_hour;
            self.now_s = hour_end_s;
        }
        None
    }
}
