//! On-demand machines only: never preempted, and the price that savings are measured against.

use serde::{Deserialize, Serialize};

/// Buys on demand, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnDemandOnly {}
