//! Ski rental: the competitive ratios of the idle policies, found by driving the policies themselves over
//! many idle periods against the optimum with foresight.

use super::{Check, Report};
use crate::replicate::RunError;
use stasis_contract::CostModel;
use stasis_policy::idle::{Predicted, RandomisedSkiRental, Signal, SkiRental, break_even_s, cost_s};
use stasis_policy::{Facts, Idle};
use std::f64::consts::E;

const WAIT_WEIGHT: f64 = 10.0;
const TRUST: f64 = 0.5;
/// Random timeouts for each idle period, evenly over their distribution.
const DRAWS: u32 = 10_000;

#[allow(clippy::unnecessary_wraps, reason = "all checks have one signature")]
pub fn check(report: &mut Report) -> Result<(), RunError> {
    let facts = Facts::new(CostModel::default(), 1 << 30);
    let b = break_even_s(&facts, WAIT_WEIGHT);
    let signal = Signal::Kernel;
    let deterministic = Idle::SkiRental(SkiRental { signal, wait_weight: WAIT_WEIGHT });
    let randomised = Idle::RandomisedSkiRental(RandomisedSkiRental { signal, wait_weight: WAIT_WEIGHT });
    let predicted = Idle::Predicted(Predicted { signal, wait_weight: WAIT_WEIGHT, trust: TRUST });
    let mut push = |figure: &str, expected, found, tolerance, source: &str| {
        report.checks.push(Check {
            topic: "Ski rental",
            figure: figure.into(),
            expected,
            found,
            tolerance,
            one_sided: None,
            source: source.into(),
        });
    };
    let exact = |policy: &Idle, idle_s: f64, predicted_s: Option<f64>| {
        let facts = Facts { predicted_idle_s: predicted_s, ..facts };
        cost_s(idle_s, policy.timeout_s(&facts).unwrap_or(f64::INFINITY), b) / idle_s.min(b)
    };
    push(
        "deterministic, worst case",
        2.0,
        worst(b, |s| exact(&deterministic, s, None)),
        1e-3,
        "Karlin et al. 1988",
    );
    let mean = |idle_s: f64| {
        let draws = (0..DRAWS).map(|i| (f64::from(i) + 0.5) / f64::from(DRAWS));
        let cost = |u| {
            let timeout_s = randomised.timeout_s(&Facts { idle_uniform: u, ..facts });
            cost_s(idle_s, timeout_s.unwrap_or(f64::INFINITY), b)
        };
        draws.map(cost).sum::<f64>() / f64::from(DRAWS) / idle_s.min(b)
    };
    push(
        "randomised, worst case in expectation",
        E / (E - 1.0),
        worst(b, mean),
        5e-3,
        "Karlin et al. 1994: e/(e-1)",
    );
    let right = worst(b, |s| exact(&predicted, s, Some(s)));
    push("predicted rightly, trust 0.5", 1.0 + TRUST, right, 1e-3, "Purohit et al. 2018: 1 + lambda");
    let wrong = worst(b, |s| exact(&predicted, s, Some(0.0)).max(exact(&predicted, s, Some(1e9))));
    push("predicted wrongly, trust 0.5", 1.0 + 1.0 / TRUST, wrong, 1e-2, "Purohit et al. 2018: 1 + 1/lambda");
    Ok(())
}

/// The worst ratio over idle periods from a twentieth of B to 10 B, and at the points where timeouts lie.
fn worst(b: f64, ratio: impl Fn(f64) -> f64) -> f64 {
    let grid = (1..=200).map(|i| f64::from(i) / 20.0);
    let corners = [TRUST, 1.0, 1.0 / TRUST].map(|part| part * (1.0 + 1e-9));
    grid.chain(corners).map(|part| ratio(part * b)).fold(0.0, f64::max)
}
