//! People ask for more than they use. When a session comes back, or when the same user starts another one,
//! it gets what was observed to be needed, with headroom (Juric, Stetzler, Slater 2021, section 4.4: moving
//! an analysis to a machine of another size).

use crate::checked::at_least_one;
use serde::{Deserialize, Serialize};

/// A size of machine, or of a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Thousandths of a core.
    pub cores_milli: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// What a session was seen to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The most thousandths of a core in use at once.
    pub cores_milli: u32,
    /// The most resident bytes.
    pub memory_bytes: u64,
}

/// Gives what was observed with headroom, never more than requested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RightSize {
    /// Factor on the memory observed, 1 or more.
    #[serde(deserialize_with = "at_least_one")]
    pub memory_headroom: f64,
    /// Factor on the cores observed, 1 or more.
    #[serde(deserialize_with = "at_least_one")]
    pub cores_headroom: f64,
    /// Never fewer thousandths of a core than this.
    pub cores_milli_min: u32,
    /// Never less memory than this, in bytes.
    pub memory_bytes_min: u64,
}

impl Default for RightSize {
    fn default() -> Self {
        Self { memory_headroom: 1.5, cores_headroom: 1.25, cores_milli_min: 500, memory_bytes_min: 1 << 30 }
    }
}

impl RightSize {
    /// The size to ask for; what was requested while nothing was observed.
    pub fn choose(&self, requested: Size, observed: Option<Observed>) -> Size {
        let Some(observed) = observed else { return requested };
        let cores = (f64::from(observed.cores_milli) * self.cores_headroom).ceil() as u32;
        let memory = (observed.memory_bytes as f64 * self.memory_headroom).ceil() as u64;
        Size {
            cores_milli: cores.max(self.cores_milli_min).min(requested.cores_milli),
            memory_bytes: memory.max(self.memory_bytes_min).min(requested.memory_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_floor_and_ceiling() {
        let policy = RightSize::default();
        let requested = Size { cores_milli: 8000, memory_bytes: 64 << 30 };
        assert_eq!(policy.choose(requested, None), requested);
        let observed = |cores_milli, memory_bytes| Some(Observed { cores_milli, memory_bytes });
        let small = policy.choose(requested, observed(1000, 4 << 30));
        assert_eq!(small, Size { cores_milli: 1250, memory_bytes: 6 << 30 });
        assert_eq!(policy.choose(requested, observed(7900, 60 << 30)), requested);
        assert_eq!(
            policy.choose(requested, observed(1, 1)),
            Size { cores_milli: 500, memory_bytes: 1 << 30 }
        );
    }
}
