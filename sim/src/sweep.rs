//! A sweep: one scenario, and a grid over any of its keys. Each cell is a scenario of its own, so it can be
//! run alone, on any machine, in any order, and give the same.

use crate::scenario::Scenario;
use serde::Deserialize;
use stasis_workloads::TraceError;
use stasis_workloads::format::toml_file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a sweep file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The scenario file that is varied, relative to this one.
    pub base: PathBuf,
    /// For each dotted key of the scenario, the values that it takes. The grid is their product.
    pub grid: BTreeMap<String, Vec<toml::Value>>,
}

/// One cell of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// What was changed.
    pub changes: BTreeMap<String, toml::Value>,
    /// The scenario with the changes.
    pub scenario: Scenario,
}

/// No grid is larger than this: beyond, somebody mistyped.
const CELLS_MAX: usize = 1_000_000;

impl Sweep {
    /// Reads a sweep; `file` is for messages only.
    ///
    /// # Errors
    /// File, line and key of what is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, TraceError> {
        let sweep: Self = toml_file::parse(file, text)?;
        if let Some((key, _)) = sweep.grid.iter().find(|(_, values)| values.is_empty()) {
            return Err(TraceError::bad(file, 0, format!("grid.{key}"), "has no values"));
        }
        sweep.count().ok_or_else(|| TraceError::bad(file, 0, "grid", "has more than a million cells"))?;
        Ok(sweep)
    }

    fn count(&self) -> Option<usize> {
        let product =
            self.grid.values().try_fold(1usize, |product, values| product.checked_mul(values.len()));
        product.filter(|&count| count <= CELLS_MAX)
    }

    /// All cells, the last key varying fastest. `base_text` is the base scenario's text, `base` its file.
    ///
    /// # Errors
    /// The base is wrong, or a cell of it is.
    pub fn cells(&self, base: &Path, base_text: &str) -> Result<Vec<Cell>, TraceError> {
        let table: toml::Table = toml_file::parse(base, base_text)?;
        let count = self.count().unwrap_or(0);
        let cell = |index: usize| {
            let changes = self.changes(index);
            let mut changed = table.clone();
            for (key, value) in &changes {
                set(&mut changed, key, value.clone())
                    .map_err(|reason| TraceError::bad(base, 0, key.as_str(), reason))?;
            }
            let scenario: Result<Scenario, _> = toml::Value::Table(changed).try_into();
            let keys = || changes.iter().map(|(k, v)| format!("{k} = {v}")).collect::<Vec<_>>().join(", ");
            let scenario = scenario.map_err(|e| {
                TraceError::bad(base, 0, keys(), e.to_string().trim_end().replace('\n', "; "))
            })?;
            scenario.validate().map_err(|e| TraceError::bad(base, 0, keys(), e.to_string()))?;
            Ok(Cell { changes, scenario })
        };
        (0..count).map(cell).collect()
    }

    fn changes(&self, mut index: usize) -> BTreeMap<String, toml::Value> {
        let mut changes = BTreeMap::new();
        for (key, values) in self.grid.iter().rev() {
            changes.insert(key.clone(), values[index % values.len()].clone());
            index /= values.len();
        }
        changes
    }
}

/// Sets a dotted key, making tables on the way.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let next = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let next = next.as_table_mut().ok_or_else(|| format!("`{first}` is not a table"))?;
            set(next, rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: &str = include_str!("../scenarios/spot-and-idle.toml");
    const SWEEP: &str = include_str!("../scenarios/sweep-policies.toml");

    #[test]
    fn the_grid_is_the_product_and_the_last_key_varies_fastest() {
        let text = "base = 'b.toml'\n[grid]\n'store.bandwidth_bytes_per_s' = [1e9, 2e9]\nseed = [1, 2, 3]";
        let cells = Sweep::parse(Path::new("s.toml"), text).expect("a sweep");
        let cells = cells.cells(Path::new("b.toml"), BASE).expect("cells");
        let seen: Vec<_> =
            cells.iter().map(|c| (c.scenario.seed, c.scenario.store.bandwidth_bytes_per_s)).collect();
        assert_eq!(seen, [(1, 1e9), (1, 2e9), (2, 1e9), (2, 2e9), (3, 1e9), (3, 2e9)]);
    }

    #[test]
    fn a_key_that_a_scenario_does_not_have_is_refused() {
        let text = "base = 'b.toml'\ngrid.'store.bandwith' = [1]";
        let sweep = Sweep::parse(Path::new("s.toml"), text).expect("a sweep");
        let error = sweep.cells(Path::new("b.toml"), BASE).expect_err("unknown key").to_string();
        assert!(error.starts_with("b.toml: store.bandwith = 1: unknown field `bandwith`"), "{error}");
    }

    #[test]
    fn the_bundled_sweep_is_sound() {
        let sweep = Sweep::parse(Path::new("s.toml"), SWEEP).expect("a sweep");
        assert!(sweep.cells(Path::new("b.toml"), BASE).expect("cells").len() > 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(at in 0usize..SWEEP.len(), junk in "\\PC{0,8}") {
            let at = (0..=at).rev().find(|&i| SWEEP.is_char_boundary(i)).unwrap_or(0);
            let text = format!("{}{junk}{}", &SWEEP[..at], &SWEEP[at..]);
            if let Ok(sweep) = Sweep::parse(Path::new("s.toml"), &text) {
                let _ = sweep.cells(Path::new("b.toml"), BASE);
            }
        }
    }
}
