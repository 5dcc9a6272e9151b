//! The claims of Juric, Stetzler, Slater 2021 (arXiv 2101.05782): idle checkpointing saves 4x or more, spot
//! machines up to 3x more. The paper gives no table, so both are derived here from assumptions that are
//! stated beside them; and the two together save less than their product, which the paper does not say.

use super::{Check, Report};
use crate::model::spec::{CloudSpec, MachineSpec, PeopleSpec, SpotSpec, StoreSpec};
use crate::model::world::{self, Setup};
use crate::replicate::RunError;
use rayon::prelude::*;
use stasis_contract::CostModel;
use stasis_policy::idle::{AlwaysOn, Signal, SuspendAfter};
use stasis_policy::placement::{MarketPolicy, Placement, SpotFirst};
use stasis_policy::{Idle, Policy};
use stasis_workloads::import::notebookos;
use stasis_workloads::{Interval, Law, NS_PER_S, Request, Session, TraceError};
use std::path::Path;

const HOUR_NS: u64 = 3600 * NS_PER_S;
const RUNS: u64 = 8;
const SESSIONS: u64 = 200;
const GB: u64 = 1_000_000_000;

pub fn check(report: &mut Report, traces: Option<&Path>) -> Result<(), RunError> {
    let suspend = Idle::SuspendAfter(SuspendAfter { after_s: 600.0, signal: Signal::Kernel });
    let always = Idle::AlwaysOn(AlwaysOn {});
    let spot = MarketPolicy::SpotFirst(SpotFirst { wait_s: 0.0 });
    let on_demand = MarketPolicy::default();
    let idle_factor = factor(suspend, on_demand)?;
    let spot_factor = factor(always, spot)?;
    let both_factor = factor(suspend, spot)?;
    let mut push = |figure: &str, expected, found, at_least, source: &str| {
        report.checks.push(Check {
            topic: "Juric et al.",
            figure: figure.into(),
            expected,
            found,
            tolerance: 0.0,
            one_sided: Some(at_least),
            source: source.into(),
        });
    };
    let assumed = "sessions of 24 h, used in four hours of it; suspended after 10 min; 4 GB, 40 s boot";
    push("idle checkpointing saves at least", 4.0, idle_factor, true, assumed);
    let assumed = "spot at 0.3 of the price, lives of 8 h on average, 120 s notice";
    push("spot saves about", 3.0, spot_factor, true, assumed);
    push("spot saves less than the price ratio", 1.0 / 0.3, spot_factor, false, assumed);
    let assumed = "the parts do not simply multiply: less than idle x spot";
    push("both save less than the product", idle_factor * spot_factor, both_factor, false, assumed);
    notebookos(report, traces)
}

/// Factor saved against always-on, on-demand machines.
fn factor(idle: Idle, market: MarketPolicy) -> Result<f64, RunError> {
    let runs: Result<Vec<(f64, f64)>, RunError> = (0..RUNS)
        .into_par_iter()
        .map(|replication| {
            let setup = setup(idle, market, replication);
            let mut sessions = (0..SESSIONS).map(|id| Ok(session(id)));
            let metrics = world::run(&setup, &mut sessions, &mut std::iter::empty())?.metrics;
            Ok((metrics.baseline_money, metrics.total_money()))
        })
        .collect();
    let (baseline, money) = runs?.into_iter().fold((0.0, 0.0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
    Ok(baseline / money)
}

/// Four blocks of an hour, six hours apart: a cell of 50 s every minute.
fn session(id: u64) -> Session {
    let submit_ns = id * HOUR_NS / 10;
    let minute_ns = 60 * NS_PER_S;
    let cells = (0..4u64).flat_map(|block| (0..60u64).map(move |minute| (block, minute)));
    let busy = cells.map(|(block, minute)| {
        let start_ns = submit_ns + block * 6 * HOUR_NS + minute * minute_ns;
        Interval { start_ns, end_ns: start_ns + 50 * NS_PER_S }
    });
    Session {
        id,
        user: id as u32,
        submit_ns,
        end_ns: submit_ns + 24 * HOUR_NS,
        request: Request { cores_milli: 2000, gpus: 0, memory_bytes: 4 * GB },
        busy: busy.collect(),
        memory: Box::default(),
        connected: Box::default(),
    }
}

fn setup(idle: Idle, market: MarketPolicy, replication: u64) -> Setup {
    Setup {
        policy: Policy { idle, placement: Placement { market, ..Placement::default() }, ..Policy::default() },
        cost: CostModel::default(),
        store: StoreSpec::default(),
        people: PeopleSpec::default(),
        cloud: Some(CloudSpec {
            boot_s: 40.0,
            machines: vec![MachineSpec { cores_milli: 2000, memory_bytes: 8 * GB, price_per_h: 0.1 }],
            spot: Some(SpotSpec {
                price_ratio: 0.3,
                notice_s: 120.0,
                lifetime: Some(Law::Exponential { mean_s: 8.0 * 3600.0 }),
                capacity: None,
                availability: None,
                machines_per_instance: 1,
            }),
        }),
        slurm: None,
        spot_trace: None,
        seed: 2021,
        replication,
        explain: None,
    }
}

/// On real notebook training sessions: what always-on costs over what computes, which idle checkpointing
/// could save at most.
fn notebookos(report: &mut Report, traces: Option<&Path>) -> Result<(), RunError> {
    let path = traces.map(|folder| folder.join("notebookos-tiresias.csv")).filter(|path| path.exists());
    let Some(path) = path else {
        report.skipped.push("NotebookOS: needs notebookos-tiresias.csv in the folder of --traces".into());
        return Ok(());
    };
    let sessions: Result<Vec<Session>, TraceError> =
        notebookos::sessions(&path, notebookos::Options::default())?.collect();
    let (span, busy) = sessions?.iter().fold((0.0, 0.0), |(span, busy), session| {
        (span + session.span_ns() as f64, busy + session.busy_ns() as f64)
    });
    report.checks.push(Check {
        topic: "NotebookOS",
        figure: "always-on over busy".into(),
        expected: 3.9,
        found: span / busy,
        tolerance: 0.3,
        one_sided: None,
        source: "3.7 to 4.1 on the excerpts".into(),
    });
    Ok(())
}
