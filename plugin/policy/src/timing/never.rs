//! No images at all: the baseline, and how sessions live today.

use serde::{Deserialize, Serialize};

/// Never writes an image; whatever ends the session's time on its node ends its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Never {}
