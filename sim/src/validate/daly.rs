//! Daly 2006, the example of its section 5: 500 h of work, 5 min dumps, 10 min restarts. The optimum against
//! the table, and the whole engine (a session with one long cell on machines that die without notice)
//! against the expected time of equation 20.

use super::{Check, Report};
use crate::model::spec::{CloudSpec, MachineSpec, PeopleSpec, SpotSpec, StoreSpec};
use crate::model::world::{self, Setup};
use crate::replicate::RunError;
use crate::statistics::estimate;
use rayon::prelude::*;
use stasis_contract::CostModel;
use stasis_policy::placement::{MarketPolicy, Placement, SpotFirst};
use stasis_policy::timing::{Daly, Exact, Fixed, Young};
use stasis_policy::{Policy, Timing};
use stasis_workloads::{Interval, Law, NS_PER_S, Request, Session};

const WORK_MIN: f64 = 30_000.0;
const DUMP_MIN: f64 = 5.0;
const RESTART_MIN: f64 = 10.0;
/// M in minutes; tau as published and to two digits; T exact and with Young's tau, in hours.
const TABLE: [(f64, f64, f64, f64, f64); 3] = [
    (1440.0, 116.69, 116.69, 547.88, 547.90),
    (360.0, 56.71, 56.71, 610.22, 610.37),
    (15.0, 9.141, 9.167, 2504.16, 2573.52),
];
const RUNS: u64 = 400;

pub fn check(report: &mut Report) -> Result<(), RunError> {
    for (mtbf_min, daly_min, exact_min, best_h, young_h) in TABLE {
        let mut push = |figure: String, expected, found, tolerance, source: &str| {
            let source = source.to_owned();
            report.checks.push(Check {
                topic: "Daly",
                figure,
                expected,
                found,
                tolerance,
                one_sided: None,
                source,
            });
        };
        let label = |what: &str| format!("M = {mtbf_min} min: {what}");
        let time_h =
            |tau_min| Exact::expected_time_s(WORK_MIN, tau_min, DUMP_MIN, RESTART_MIN, mtbf_min) / 60.0;
        let exact = Exact::optimum_s(DUMP_MIN, mtbf_min);
        let young = Young::optimum_s(DUMP_MIN, mtbf_min);
        let table = "Daly 2006 eq. 37 (published 117, 57, 9.1 min)";
        push(label("tau (min)"), daly_min, Daly::optimum_s(DUMP_MIN, mtbf_min), 0.005, table);
        push(label("exact tau (min)"), exact_min, exact, 0.005, "Lambert W");
        push(label("T exact (h)"), best_h, time_h(exact), 0.005, "Daly 2006 eq. 20");
        push(label("T with Young's tau (h)"), young_h, time_h(young), 0.005, "Daly 2006 eq. 20");
        if mtbf_min < 100.0 {
            continue; // at 15 min a run needs 10,000 failures: the two others show the engine right
        }
        for tau_min in [exact, exact / 3.0] {
            let found = monte_carlo_h(mtbf_min, tau_min)?;
            // 4 standard errors: one false alarm in 16,000.
            let tolerance = 4.0 * found.deviation / (RUNS as f64).sqrt();
            let interval = found.halfwidth.unwrap_or(f64::NAN);
            let source = format!("eq. 20; {RUNS} runs of the engine, 95 % interval +- {interval:.2} h");
            push(
                label(&format!("engine, tau {tau_min:.1}: T (h)")),
                time_h(tau_min),
                found.mean,
                tolerance,
                &source,
            );
        }
    }
    Ok(())
}

/// Hours until the work is done, over `RUNS` runs.
fn monte_carlo_h(mtbf_min: f64, tau_min: f64) -> Result<crate::statistics::Estimate, RunError> {
    let hours: Result<Vec<f64>, RunError> = (0..RUNS)
        .into_par_iter()
        .map(|replication| {
            let setup = setup(mtbf_min, tau_min, replication);
            let outcome = world::run(&setup, &mut std::iter::once(Ok(session())), &mut std::iter::empty())?;
            Ok(outcome.metrics.end_ns as f64 / 3.6e12)
        })
        .collect();
    Ok(estimate(&hours?))
}

fn session() -> Session {
    let end_ns = (WORK_MIN * 60.0) as u64 * NS_PER_S;
    Session {
        id: 0,
        user: 0,
        submit_ns: 0,
        end_ns,
        request: Request { cores_milli: 1000, gpus: 0, memory_bytes: 0 },
        busy: Box::new([Interval { start_ns: 0, end_ns }]),
        memory: Box::default(),
        connected: Box::default(),
    }
}

fn setup(mtbf_min: f64, tau_min: f64, replication: u64) -> Setup {
    let interval_s = tau_min * 60.0;
    let market = MarketPolicy::SpotFirst(SpotFirst { wait_s: 0.0 });
    Setup {
        policy: Policy {
            timing: Timing::Fixed(Fixed { interval_s }),
            placement: Placement { market, ..Placement::default() },
            ..Policy::default()
        },
        cost: CostModel {
            dump_fixed_s: DUMP_MIN * 60.0,
            restore_fixed_s: RESTART_MIN * 60.0,
            requeue_s: 0.0,
            ..CostModel::default()
        },
        store: StoreSpec::default(),
        // The paper restarts from the beginning at the same cost as from a dump.
        people: PeopleSpec { cold_start_s: RESTART_MIN * 60.0, ..PeopleSpec::default() },
        cloud: Some(CloudSpec {
            boot_s: 0.0,
            machines: vec![MachineSpec { cores_milli: 1000, memory_bytes: 0, price_per_h: 1.0 }],
            spot: Some(SpotSpec {
                price_ratio: 1.0,
                notice_s: 0.0,
                lifetime: Some(Law::Exponential { mean_s: mtbf_min * 60.0 }),
                capacity: None,
                availability: None,
                machines_per_instance: 1,
            }),
        }),
        slurm: None,
        spot_trace: None,
        seed: 2006,
        replication,
        explain: None,
    }
}
