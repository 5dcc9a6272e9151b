//! A scenario: one TOML file that says which sessions meet which machines under which policy. It reads what
//! it names, checks everything before anything runs, and makes the [`Setup`] of each replication.

use crate::model::spec::{self, CloudSpec, PeopleSpec, SlurmSpec, StoreSpec};
use crate::model::world::Setup;
use serde::{Deserialize, Serialize};
use stasis_contract::CostModel;
use stasis_policy::Policy;
use stasis_workloads::format::{Sessions, open_sessions, toml_file};
use stasis_workloads::generate::{self, GeneratorSpec, SessionSpec};
use stasis_workloads::import::{spot_json, swf::SwfReader};
use stasis_workloads::{Invalid, Job, SpotTrace, TraceError};
use std::path::{Path, PathBuf};

/// What a scenario file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What results are called.
    #[serde(default = "unnamed")]
    pub name: String,
    /// What it is about, for people.
    #[serde(default)]
    pub description: String,
    /// Seed of everything random.
    #[serde(default = "one")]
    pub seed: u64,
    /// How often it is run with other randomness.
    #[serde(default = "eight")]
    pub replications: u64,
    /// Where the sessions come from.
    pub workload: Workload,
    /// What decides.
    #[serde(default)]
    pub policy: Policy,
    /// What dumps and restores cost.
    #[serde(default)]
    pub cost: CostModel,
    /// Where images go.
    #[serde(default)]
    pub store: StoreSpec,
    /// What people do.
    #[serde(default)]
    pub people: PeopleSpec,
    /// Machines for rent; exactly one of this and `slurm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudSpec>,
    /// A fixed cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<SlurmSpec>,
}

fn unnamed() -> String {
    "unnamed".into()
}

fn one() -> u64 {
    1
}

fn eight() -> u64 {
    8
}

/// Where sessions come from: exactly one of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// A session trace (CSV, or Parquet with the feature); the same in every replication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<PathBuf>,
    /// A file for the generator; another trace in every replication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<PathBuf>,
    /// The same, right here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionSpec>,
}

/// A scenario with all that it names read and checked: ready to run any replication.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What the file said.
    pub scenario: Scenario,
    trace: Option<PathBuf>,
    sessions: Option<SessionSpec>,
    spot_trace: Option<SpotTrace>,
    batch_log: Option<PathBuf>,
}

/// Batch jobs in order of submission.
pub type Jobs = Box<dyn Iterator<Item = Result<Job, TraceError>>>;

impl Scenario {
    /// Reads a scenario; `file` is for messages only.
    ///
    /// # Errors
    /// File, line and key of what is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, TraceError> {
        let scenario: Self = toml_file::parse(file, text)?;
        scenario.validate().map_err(|invalid| {
            let line = line_of(text, &invalid.key);
            invalid.at(file, line)
        })?;
        Ok(scenario)
    }

    /// Checks what the reading of single values cannot.
    ///
    /// # Errors
    /// The first key at fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        let sources = [
            self.workload.trace.is_some(),
            self.workload.generator.is_some(),
            self.workload.sessions.is_some(),
        ];
        if sources.iter().filter(|&&given| given).count() != 1 {
            return Err(Invalid::new("workload", "needs exactly one of trace, generator and sessions"));
        }
        if self.replications == 0 {
            return Err(Invalid::new("replications", "must be above 0"));
        }
        if let Some(sessions) = &self.workload.sessions {
            sessions.validate().map_err(|e| Invalid::new(format!("workload.{}", e.key), e.reason))?;
        }
        spec::validate(&self.cost, &self.store, &self.people, self.cloud.as_ref(), self.slurm.as_ref())
    }

    /// Reads what the scenario names; paths are relative to `base`.
    ///
    /// # Errors
    /// A file that cannot be read or is wrong.
    pub fn prepare(self, base: &Path) -> Result<Prepared, TraceError> {
        let sessions = match &self.workload.generator {
            None => self.workload.sessions.clone(),
            Some(path) => {
                let path = base.join(path);
                let spec = GeneratorSpec::read(&path)?.sessions;
                Some(spec.ok_or_else(|| TraceError::bad(&path, 0, "sessions", "is missing"))?)
            }
        };
        let trace = self.workload.trace.as_ref().map(|path| base.join(path));
        if let Some(path) = &trace {
            drop(open_sessions(path)?); // an error now rather than in the middle
        }
        let spot = self.cloud.as_ref().and_then(|cloud| cloud.spot.as_ref());
        let spot_trace = spot.and_then(|spot| spot.availability.as_ref());
        let spot_trace = spot_trace.map(|path| spot_json::read(&base.join(path))).transpose()?;
        let batch = self.slurm.as_ref().and_then(|slurm| slurm.batch.as_ref());
        let batch_log = batch.and_then(|batch| batch.log.as_ref()).map(|path| base.join(path));
        if let Some(path) = &batch_log {
            SwfReader::open(path)?;
        }
        Ok(Prepared { scenario: self, trace, sessions, spot_trace, batch_log })
    }
}

impl Prepared {
    /// What the world is made from in one replication.
    pub fn setup(&self, replication: u64) -> Setup {
        let scenario = &self.scenario;
        Setup {
            policy: scenario.policy.clone(),
            cost: scenario.cost,
            store: scenario.store,
            people: scenario.people,
            cloud: scenario.cloud.clone(),
            slurm: scenario.slurm.clone(),
            spot_trace: self.spot_trace.clone(),
            seed: scenario.seed,
            replication,
            explain: None,
        }
    }

    /// The sessions of one replication.
    ///
    /// # Errors
    /// The trace cannot be opened.
    pub fn sessions(&self, replication: u64) -> Result<Sessions, TraceError> {
        match (&self.trace, &self.sessions) {
            (Some(path), _) => open_sessions(path),
            (None, Some(spec)) => {
                let generator = generate::sessions(spec, self.scenario.seed, replication);
                let generator = generator.map_err(|e| e.at(Path::new(&self.scenario.name), 0))?;
                Ok(Box::new(generator.map(Ok)))
            }
            (None, None) => Ok(Box::new(std::iter::empty())),
        }
    }

    /// The batch jobs of one replication; none if there is no cluster or no load on it.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn jobs(&self, replication: u64) -> Result<Jobs, TraceError> {
        let batch = self.scenario.slurm.as_ref().and_then(|slurm| slurm.batch.as_ref());
        match (&self.batch_log, batch.and_then(|batch| batch.jobs.as_ref())) {
            (Some(path), _) => Ok(Box::new(SwfReader::open(path)?)),
            (None, Some(spec)) => {
                let jobs = generate::jobs(spec, self.scenario.seed, replication);
                Ok(Box::new(jobs.map_err(|e| e.at(Path::new(&self.scenario.name), 0))?.map(Ok)))
            }
            (None, None) => Ok(Box::new(std::iter::empty())),
        }
    }
}

/// The line (from 1) on which the last part of a dotted key is set, or its table begins; 0 if it is not
/// there.
fn line_of(text: &str, key: &str) -> u64 {
    let last = key.rsplit('.').next().unwrap_or(key);
    let is_it = |line: &str| {
        let line = line.trim();
        let name = line.strip_prefix('[').map_or_else(
            || line.split('=').next().unwrap_or("").trim(),
            |table| table.trim_matches(['[', ']']).trim(),
        );
        name == last || name == key || name.rsplit('.').next() == Some(last)
    };
    text.lines().position(is_it).map_or(0, |index| index as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: &str = include_str!("../scenarios/spot-and-idle.toml");

    fn error(text: &str) -> String {
        Scenario::parse(Path::new("s.toml"), text).expect_err("wrong").to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_file_line_and_key() {
        let line = |needle: &str| BASE.lines().position(|l| l.starts_with(needle)).expect(needle) + 1;
        let changed = |from: &str, to: &str| {
            assert!(BASE.contains(from), "{from}");
            error(&BASE.replacen(from, to, 1))
        };
        let told = changed("seed =", "sead =");
        assert!(
            told.starts_with(&format!("s.toml:{}: sead:", line("seed ="))) && told.contains("unknown"),
            "{told}"
        );
        let told = changed("rerun_share = 1.0", "rerun_share = 1.5");
        assert!(
            told.contains(&format!("s.toml:{}:", line("rerun_share"))) && told.contains("from 0 to 1"),
            "{told}"
        );
        let told = changed("[cloud]\nboot_s = ", "[cloud]\nboot = ");
        assert!(told.contains("cloud.boot") && told.contains("unknown field"), "{told}");
        let told = changed("price_ratio = 0.3", "price_ratio = nan");
        assert!(told.contains("price_ratio"), "{told}");
    }

    proptest! {
        #[test]
        fn no_text_panics(at in 0usize..BASE.len(), junk in "\\PC{0,8}", cut in 0usize..20) {
            let at = (0..=at).rev().find(|&i| BASE.is_char_boundary(i)).unwrap_or(0);
            let end = (at + cut..BASE.len()).find(|&i| BASE.is_char_boundary(i)).unwrap_or(BASE.len());
            let text = format!("{}{junk}{}", &BASE[..at], &BASE[end..]);
            let _ = Scenario::parse(Path::new("s.toml"), &text);
        }
    }
}
