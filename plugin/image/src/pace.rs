//! Whether compressing pays: a session is frozen for as long as its memory is not taken.
//!
//! A chunk that is kept as it is costs the storage time to take it; a compressed one the time to compress it, for which
//! there are several threads, and the storage time to take what is left. Which is less depends on the storage, the
//! content and what else the cores have to do, and is therefore measured all along.

use std::time::Duration;

/// Weight of the newest measurement.
const NEWEST: f64 = 0.25;
/// One chunk in so many is compressed in any case, to learn what that would save.
const SAMPLE_EVERY: u32 = 64;

/// What is assumed of the storage at first: a good network file system.
const FIRST_WRITE_S_PER_BYTE: f64 = 1e-9;

/// What has been measured so far.
#[derive(Debug)]
pub(crate) struct Pace {
    threads: f64,
    encode_s_per_byte: Option<f64>,
    write_s_per_byte: Option<f64>,
    /// The part of a chunk that compression takes away.
    saved: f64,
    asked: u32,
}

impl Pace {
    /// Nothing was measured; so many threads will compress.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads: threads as f64,
            encode_s_per_byte: None,
            write_s_per_byte: None,
            saved: 0.0,
            asked: 0,
        }
    }

    /// Whether the next chunk is to be compressed.
    pub(crate) fn compresses(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        let Some(encode) = self.encode_s_per_byte else { return true };
        let write = self.write_s_per_byte.unwrap_or(FIRST_WRITE_S_PER_BYTE);
        encode / self.threads < write * self.saved || self.asked.is_multiple_of(SAMPLE_EVERY)
    }

    /// A chunk was compressed.
    pub(crate) fn encoded(&mut self, plain: usize, stored: usize, took: Duration) {
        if plain == 0 {
            return;
        }
        let saved = 1.0 - stored as f64 / plain as f64;
        self.saved = if self.encode_s_per_byte.is_some() { mix(self.saved, saved) } else { saved };
        learn(&mut self.encode_s_per_byte, took.as_secs_f64() / plain as f64);
    }

    /// The storage took so many bytes.
    pub(crate) fn wrote(&mut self, bytes: usize, took: Duration) {
        if bytes > 0 {
            learn(&mut self.write_s_per_byte, took.as_secs_f64() / bytes as f64);
        }
    }
}

fn learn(known: &mut Option<f64>, newest: f64) {
    *known = Some(known.map_or(newest, |known| mix(known, newest)));
}

fn mix(known: f64, newest: f64) -> f64 {
    known + NEWEST * (newest - known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1_000_000;

    fn after(encode_ms: u64, stored: usize, write_ms: u64) -> Pace {
        let mut pace = Pace::new(1);
        for _ in 0..20 {
            pace.encoded(MB, stored, Duration::from_millis(encode_ms));
            pace.wrote(MB, Duration::from_millis(write_ms));
        }
        pace
    }

    #[test]
    fn slow_storage_makes_compressing_worth_its_time() {
        assert!(after(2, MB / 2, 10).compresses());
        assert!(!after(2, MB / 2, 1).compresses());
        assert!(!after(2, MB, 10).compresses(), "nothing is saved");
    }

    #[test]
    fn what_was_never_measured_is_tried() {
        assert!(Pace::new(1).compresses());
    }

    #[test]
    fn it_notices_when_things_change() {
        let mut pace = after(2, MB, 10);
        assert!((0..SAMPLE_EVERY).any(|_| pace.compresses()), "a sample is taken now and then");
        for _ in 0..20 {
            pace.encoded(MB, MB / 4, Duration::from_millis(1));
        }
        assert!(pace.compresses());
    }
}
