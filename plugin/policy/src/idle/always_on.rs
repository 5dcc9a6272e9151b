//! The node is kept until the user is done: the baseline that savings are measured against.

use serde::{Deserialize, Serialize};

/// Never gives the node back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlwaysOn {}
