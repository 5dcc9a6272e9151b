//! What culling services do today: the session is ended after a timeout, and its memory is lost.

use super::Signal;
use crate::checked::non_negative;
use serde::{Deserialize, Serialize};

/// Ends the session when it has been idle for `after_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillAfter {
    /// The timeout in seconds.
    #[serde(deserialize_with = "non_negative")]
    pub after_s: f64,
    /// What counts as idle.
    #[serde(default)]
    pub signal: Signal,
}
