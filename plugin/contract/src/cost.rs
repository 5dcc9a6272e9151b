//! What a checkpoint and a restore cost, as policies and the simulator see it.

use serde::{Deserialize, Serialize};

/// Linear costs: a fixed part in seconds, and a part in proportion to bytes.
///
/// `stasis-sim calibrate` fits these to the event logs of real runs. The defaults are of one session of
/// about 0.5 GB on two cores and a local file system, and only a place to start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostModel {
    /// Seconds of a dump that do not depend on memory: freezing, sockets, terminals, the manifest.
    pub dump_fixed_s: f64,
    /// Resident bytes that one dump moves per second when the store is not the limit.
    pub dump_bytes_per_s: f64,
    /// Bytes in the store per resident byte of the session.
    pub image_bytes_per_resident_byte: f64,
    /// Seconds of a restore that do not depend on memory.
    pub restore_fixed_s: f64,
    /// Resident bytes that one restore brings back per second when the store is not the limit.
    pub restore_bytes_per_s: f64,
    /// Seconds from the end of the dump until the requeued job may start, with a node free.
    pub requeue_s: f64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            dump_fixed_s: 0.3,
            dump_bytes_per_s: 0.6e9,
            image_bytes_per_resident_byte: 0.6,
            restore_fixed_s: 0.5,
            restore_bytes_per_s: 0.5e9,
            requeue_s: 3.0,
        }
    }
}

impl CostModel {
    /// Seconds that a session of this size stays frozen while it is dumped, with the store to itself.
    pub fn dump_s(&self, resident_bytes: u64) -> f64 {
        self.dump_fixed_s + resident_bytes as f64 / self.dump_bytes_per_s
    }

    /// Seconds to bring a session of this size back, with the store to itself.
    pub fn restore_s(&self, resident_bytes: u64) -> f64 {
        self.restore_fixed_s + resident_bytes as f64 / self.restore_bytes_per_s
    }

    /// Bytes that an image of a session of this size takes in the store.
    pub fn image_bytes(&self, resident_bytes: u64) -> u64 {
        (resident_bytes as f64 * self.image_bytes_per_resident_byte) as u64
    }
}
