//! A fair sample of a stream of unknown length in bounded memory (Vitter 1985, algorithm R), so that a fit
//! never holds a trace. Its randomness is fixed: the same trace gives the same sample.

use crate::streams::{Purpose, Stream, stream};

/// The most samples that are kept of one quantity.
pub const SAMPLES_MAX: usize = 100_000;

/// A sample being taken.
pub struct Reservoir {
    values: Vec<f64>,
    seen: u64,
    stream: Stream,
}

impl Reservoir {
    /// An empty sample of the quantity called `name`.
    pub fn new(name: &str) -> Self {
        Self { values: Vec::new(), seen: 0, stream: stream(0, 0, 0, Purpose::named(name)) }
    }

    /// Offers one value.
    pub fn add(&mut self, value: f64) {
        self.seen += 1;
        if self.values.len() < SAMPLES_MAX {
            self.values.push(value);
            return;
        }
        let slot = self.stream.below(self.seen) as usize;
        if let Some(kept) = self.values.get_mut(slot) {
            *kept = value;
        }
    }

    /// What was kept.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}
