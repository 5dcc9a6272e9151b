//! Names as numbers, in order of first appearance: a trace carries no user's name, and a number is small.

use std::collections::HashMap;

/// The numbers given so far. The map is only ever looked up, never walked, so its order cannot matter.
#[derive(Debug, Default)]
pub struct Names(HashMap<Box<[u8]>, u32>);

impl Names {
    /// The number of `name`, a new one if it has none yet. After 2^32 names the last number is shared.
    pub fn number(&mut self, name: &[u8]) -> u32 {
        if let Some(&number) = self.0.get(name) {
            return number;
        }
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(name.into(), number);
        number
    }
}
