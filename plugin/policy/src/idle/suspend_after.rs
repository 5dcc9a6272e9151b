//! The timeout of a site that has made up its mind: an image is written and the node given back.

use super::Signal;
use crate::checked::non_negative;
use serde::{Deserialize, Serialize};

/// Suspends the session when it has been idle for `after_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuspendAfter {
    /// The timeout in seconds.
    #[serde(deserialize_with = "non_negative")]
    pub after_s: f64,
    /// What counts as idle.
    #[serde(default)]
    pub signal: Signal,
}
