//! What is remembered of one user's idle periods, to predict the next one. It is small and plain, because
//! a simulator keeps one for each of a million users and a shepherd passes it from node to node.

use serde::{Deserialize, Serialize};

/// How many periods are remembered.
const DEPTH: usize = 8;

/// The last few idle periods of one user.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// Seconds, in a ring.
    recent_s: [f32; DEPTH],
    /// How many were ever recorded.
    count: u32,
}

impl History {
    /// Remembers an idle period that lasted `idle_s` seconds. One that is not a number is ignored.
    pub fn record(&mut self, idle_s: f64) {
        if idle_s >= 0.0 {
            self.recent_s[self.count as usize % DEPTH] = idle_s as f32;
            // Wraps to a multiple of DEPTH, above which only the remainder matters.
            self.count = self.count.checked_add(1).unwrap_or(DEPTH as u32);
        }
    }

    /// The median of the remembered periods in seconds, the upper one of two; `None` before three.
    /// Idle periods have heavy tails, which a mean would follow.
    pub fn predict_s(&self) -> Option<f64> {
        let known = (self.count as usize).min(DEPTH);
        if known < 3 {
            return None;
        }
        let mut sorted = self.recent_s;
        sorted[..known].sort_by(f32::total_cmp);
        Some(f64::from(sorted[known / 2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_predicts_the_median_of_the_last_eight() {
        let mut history = History::default();
        history.record(5.0);
        history.record(f64::NAN);
        history.record(7.0);
        assert_eq!(history.predict_s(), None);
        history.record(1e9);
        assert_eq!(history.predict_s(), Some(7.0));
        for _ in 0..8 {
            history.record(3.0);
        }
        assert_eq!(history.predict_s(), Some(3.0));
    }
}
