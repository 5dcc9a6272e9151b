//! What a scenario says about the world: machines, prices, the store, people. Plain data with its defaults
//! and checks; every key carries its unit. Reading files is not its business.

use super::cluster::Discipline;
use serde::{Deserialize, Serialize};
use stasis_contract::CostModel;
use stasis_policy::placement::Size;
use stasis_workloads::{Invalid, Law};
use std::path::PathBuf;

/// The store that images go to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSpec {
    /// Bytes per second, shared by everything that reads or writes at once.
    pub bandwidth_bytes_per_s: f64,
    /// Price of holding 10^9 bytes for 30 days.
    pub price_per_gb_month: f64,
}

impl Default for StoreSpec {
    fn default() -> Self {
        Self { bandwidth_bytes_per_s: 2e9, price_per_gb_month: 0.02 }
    }
}

/// What people do and what their time is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeopleSpec {
    /// Seconds from a machine that is up to a new session that is ready.
    pub cold_start_s: f64,
    /// Share of lost work that users do again, from 0 to 1. An interrupted cell is always run again.
    pub rerun_share: f64,
    /// Price of an hour of a person's waiting.
    pub wait_price_per_h: f64,
    /// Share of the requested cores that a session can use, above 0 and at most 1: what right-sizing sees.
    pub cores_used_share: f64,
}

impl Default for PeopleSpec {
    fn default() -> Self {
        Self { cold_start_s: 5.0, rerun_share: 1.0, wait_price_per_h: 1.0, cores_used_share: 0.5 }
    }
}

/// Machines for rent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudSpec {
    /// Seconds from asking for a machine to having it; they are paid for.
    #[serde(default = "forty")]
    pub boot_s: f64,
    /// Sizes on offer.
    pub machines: Vec<MachineSpec>,
    /// The spot market, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<SpotSpec>,
}

fn forty() -> f64 {
    40.0
}

/// One size of machine on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// Thousandths of a core.
    pub cores_milli: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Price of an hour on demand.
    pub price_per_h: f64,
}

/// The spot market.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpotSpec {
    /// Spot price over on-demand price, above 0 and at most 1.
    pub price_ratio: f64,
    /// Seconds between the announcement of an end and the end; 0 for none.
    pub notice_s: f64,
    /// How long machines live; absent: until the capacity shrinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Law>,
    /// The most machines at once; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// File of availability over time (JSON); it is repeated, from a random start in each replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<PathBuf>,
    /// Machines for each instance in that file.
    #[serde(default = "one")]
    pub machines_per_instance: u32,
}

fn one() -> u32 {
    1
}

/// A fixed cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmSpec {
    /// Whole cores of the cluster.
    pub cores: u32,
    /// Price of an hour of a core.
    pub price_per_core_h: f64,
    /// How the queue is served.
    #[serde(default)]
    pub discipline: Discipline,
    /// Seconds from an allocation to a running job.
    #[serde(default = "a_second")]
    pub launch_s: f64,
    /// Partitions, laid over all cores.
    pub partitions: Vec<PartitionSpec>,
    /// The partition that sessions go to.
    pub session_partition: String,
    /// Other load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchSpec>,
}

fn a_second() -> f64 {
    1.0
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSpec {
    /// Its name.
    pub name: String,
    /// Priority tier: higher goes first and preempts lower ones.
    pub tier: u32,
    /// Seconds between the preemption of a job and its end; absent: its jobs are never preempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_s: Option<f64>,
    /// The longest that a job may run, in seconds. Sessions are told `grace_s` before.
    #[serde(default = "a_week")]
    pub time_limit_s: f64,
}

fn a_week() -> f64 {
    604_800.0
}

/// Batch jobs beside the sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// The partition that they go to.
    pub partition: String,
    /// A job log (SWF).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// Or jobs to generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<stasis_workloads::generate::JobSpec>,
}

impl CloudSpec {
    /// Price of an hour on demand of the cheapest machine that holds `size`; of the largest if none does.
    pub fn price_per_h(&self, size: Size) -> f64 {
        self.fitting(size).map_or(0.0, |machine| machine.price_per_h)
    }

    /// Memory of that machine in bytes.
    pub fn memory_bytes(&self, size: Size) -> u64 {
        self.fitting(size).map_or(size.memory_bytes, |machine| machine.memory_bytes)
    }

    fn fitting(&self, size: Size) -> Option<&MachineSpec> {
        let fits = |machine: &&MachineSpec| {
            machine.cores_milli >= size.cores_milli && machine.memory_bytes >= size.memory_bytes
        };
        let cheapest =
            (self.machines.iter().filter(fits)).min_by(|a, b| a.price_per_h.total_cmp(&b.price_per_h));
        cheapest.or_else(|| self.machines.iter().max_by(|a, b| a.price_per_h.total_cmp(&b.price_per_h)))
    }

    fn validate(&self) -> Result<(), Invalid> {
        at_least("cloud.boot_s", self.boot_s, 0.0)?;
        rule(!self.machines.is_empty(), "cloud.machines", "there must be at least one")?;
        for machine in &self.machines {
            rule(machine.cores_milli > 0, "cloud.machines.cores_milli", "must be above 0")?;
            at_least("cloud.machines.price_per_h", machine.price_per_h, 0.0)?;
        }
        let Some(spot) = &self.spot else { return Ok(()) };
        share("cloud.spot.price_ratio", spot.price_ratio)?;
        at_least("cloud.spot.notice_s", spot.notice_s, 0.0)?;
        spot.lifetime.map_or(Ok(()), |law| {
            law.validate().map_err(|e| Invalid::new(format!("cloud.spot.lifetime.{}", e.key), e.reason))
        })?;
        rule(
            spot.capacity.is_none() || spot.availability.is_none(),
            "cloud.spot.capacity",
            "and availability exclude each other",
        )
    }
}

impl SlurmSpec {
    /// The partition called `name`.
    pub fn partition(&self, name: &str) -> Option<&PartitionSpec> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    fn validate(&self) -> Result<(), Invalid> {
        rule(self.cores > 0, "slurm.cores", "must be above 0")?;
        at_least("slurm.price_per_core_h", self.price_per_core_h, 0.0)?;
        at_least("slurm.launch_s", self.launch_s, 0.0)?;
        for partition in &self.partitions {
            at_least("slurm.partitions.grace_s", partition.grace_s.unwrap_or(0.0), 0.0)?;
            rule(
                partition.time_limit_s.is_finite()
                    && partition.time_limit_s > partition.grace_s.unwrap_or(0.0),
                "slurm.partitions.time_limit_s",
                "must be longer than grace_s",
            )?;
        }
        let known = |key, name: &str| rule(self.partition(name).is_some(), key, "names no partition");
        known("slurm.session_partition", &self.session_partition)?;
        let Some(batch) = &self.batch else { return Ok(()) };
        known("slurm.batch.partition", &batch.partition)?;
        if let Some(jobs) = &batch.jobs {
            jobs.validate().map_err(|e| Invalid::new(format!("slurm.batch.{}", e.key), e.reason))?;
        }
        rule(batch.log.is_some() != batch.jobs.is_some(), "slurm.batch", "needs either log or jobs")
    }
}

/// Checks what the reading of single values cannot.
///
/// # Errors
/// The first key at fault.
pub fn validate(
    cost: &CostModel,
    store: &StoreSpec,
    people: &PeopleSpec,
    cloud: Option<&CloudSpec>,
    slurm: Option<&SlurmSpec>,
) -> Result<(), Invalid> {
    for (key, value) in [
        ("cost.dump_fixed_s", cost.dump_fixed_s),
        ("cost.restore_fixed_s", cost.restore_fixed_s),
        ("cost.requeue_s", cost.requeue_s),
        ("cost.image_bytes_per_resident_byte", cost.image_bytes_per_resident_byte),
        ("store.price_per_gb_month", store.price_per_gb_month),
        ("people.cold_start_s", people.cold_start_s),
        ("people.wait_price_per_h", people.wait_price_per_h),
    ] {
        at_least(key, value, 0.0)?;
    }
    for (key, value) in [
        ("cost.dump_bytes_per_s", cost.dump_bytes_per_s),
        ("cost.restore_bytes_per_s", cost.restore_bytes_per_s),
        ("store.bandwidth_bytes_per_s", store.bandwidth_bytes_per_s),
    ] {
        at_least(key, value, 1.0)?;
    }
    rule((0.0..=1.0).contains(&people.rerun_share), "people.rerun_share", "must be from 0 to 1")?;
    share("people.cores_used_share", people.cores_used_share)?;
    match (cloud, slurm) {
        (Some(cloud), None) => cloud.validate(),
        (None, Some(slurm)) => slurm.validate(),
        _ => Err(Invalid::new("cloud", "a scenario needs either [cloud] or [slurm]")),
    }
}

fn rule(holds: bool, key: &str, reason: &str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::new(key, reason)) }
}

/// No duration, rate or price is larger than this: sums of them must stay finite, times must fit 64 bits.
const LARGEST: f64 = 1e15;

fn at_least(key: &str, value: f64, least: f64) -> Result<(), Invalid> {
    rule((least..=LARGEST).contains(&value), key, &format!("must be a number of {least} or more"))
}

fn share(key: &str, value: f64) -> Result<(), Invalid> {
    rule(value > 0.0 && value <= 1.0, key, "must be above 0 and at most 1")
}
