//! Bougeret, Casanova, Rabie, Robert, Vivien, "Checkpointing strategies for parallel jobs", SC'11: their
//! DPNextFailure (section 3.3) chooses the intervals that save the most work, in expectation, before the
//! next failure, for any law of lifetimes. With work without end, which is what a session is, the state is
//! the machine's age alone:
//!
//! ```text
//! V(a) = max over tau of  S(a + tau + d) / S(a) * (tau + V(a + tau + d))
//! ```
//!
//! V is solved backwards on a grid of ages. Beyond the grid the machine is taken to age no more, where
//! V = max tau / (exp(h (tau + d)) - 1), whose maximum is the exact interval for a mean of 1/h.

use super::Exact;
use crate::{Facts, Lifetime};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// Computes for as long as saves the most work before the next failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicProgramme {
    /// How long machines live.
    pub lifetime: Lifetime,
    #[serde(skip)]
    plans: Memo,
}

impl DynamicProgramme {
    /// The policy for this law.
    pub fn new(lifetime: Lifetime) -> Self {
        Self { lifetime, plans: Memo::default() }
    }

    /// Seconds of computing between checkpoints, for the age at which the unsaved work began.
    pub fn interval_s(&self, facts: &Facts) -> f64 {
        let age_s = (facts.age_s - facts.unsaved_s).max(0.0);
        // Between two rungs the interval is nearly a power of the dump time (Young: its root).
        let rung = (facts.dump_s() / SHORTEST_DUMP_S).ln() / RUNG.ln();
        let rung = rung.clamp(0.0, (RUNGS - 1) as f64);
        let on = |rung: f64| self.plans.get(&self.lifetime, rung as usize).best(&self.lifetime, age_s).0;
        let (below, part) = (rung.floor(), rung.fract());
        let shorter_s = on(below);
        if part > 0.0 { shorter_s * (on(below + 1.0) / shorter_s).powf(part) } else { shorter_s }
    }
}

/// Dumps are never planned as shorter than this, in seconds.
const SHORTEST_DUMP_S: f64 = 0.01;
/// V is solved for dump times on a grid with this ratio.
const RUNG: f64 = 1.5;
/// The last rung is 0.01 s * 1.5^39, or 20 hours.
const RUNGS: usize = 40;
/// Ages on the grid: half of them evenly, half geometrically spaced.
const AGES: usize = 256;

/// V for each rung, solved when first needed: a memo, invisible but for the time it saves.
#[derive(Debug, Clone)]
struct Memo(Arc<[OnceLock<Plan>; RUNGS]>);

impl Default for Memo {
    fn default() -> Self {
        Self(Arc::new([const { OnceLock::new() }; RUNGS]))
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Memo {
    fn get(&self, lifetime: &Lifetime, rung: usize) -> &Plan {
        self.0[rung].get_or_init(|| Plan::solve(lifetime, SHORTEST_DUMP_S * RUNG.powi(rung as i32)))
    }
}

/// V on a grid of ages.
#[derive(Debug)]
struct Plan {
    dump_s: f64,
    ages_s: Vec<f64>,
    saved: Vec<f64>,
}

impl Plan {
    fn solve(lifetime: &Lifetime, dump_s: f64) -> Self {
        let end_s = horizon_s(lifetime);
        let half = AGES / 2;
        let mut ages_s: Vec<f64> = (0..half).map(|i| end_s * i as f64 / half as f64).collect();
        let first_s = end_s.min(dump_s);
        ages_s.extend((1..=half).map(|i| first_s * (end_s / first_s).powf(i as f64 / half as f64)));
        ages_s.sort_by(f64::total_cmp);
        let mut plan = Self { dump_s, saved: vec![0.0; ages_s.len()], ages_s };
        let last = plan.ages_s.len() - 1;
        plan.saved[last] = without_ageing_s(lifetime, end_s, dump_s);
        for i in (0..last).rev() {
            // A short interval ends between this age and the next, so V here enters its own equation:
            // policy iteration (Howard) chooses tau, then solves for V with it.
            plan.saved[i] = plan.saved[i + 1];
            for _ in 0..4 {
                let (tau, _) = plan.best(lifetime, plan.ages_s[i]);
                plan.saved[i] = plan.solve_at(lifetime, i, tau);
            }
        }
        plan
    }

    /// V at the i-th age if its interval is `tau` and V is known at all later ages.
    fn solve_at(&self, lifetime: &Lifetime, i: usize, tau: f64) -> f64 {
        let (age_s, next_s) = (self.ages_s[i], self.ages_s[i + 1]);
        let then_s = age_s + tau + self.dump_s;
        let survives = lifetime.survival(then_s) / lifetime.survival(age_s);
        if then_s >= next_s {
            return survives * (tau + self.saved_at(then_s));
        }
        let part = (then_s - age_s) / (next_s - age_s);
        survives * (tau + part * self.saved[i + 1]) / (1.0 - survives * (1.0 - part))
    }

    fn saved_at(&self, age_s: f64) -> f64 {
        let after = self.ages_s.partition_point(|&a| a <= age_s);
        if after == self.ages_s.len() {
            return self.saved[after - 1];
        }
        let before = after.max(1) - 1;
        let width = self.ages_s[after] - self.ages_s[before];
        let part = if width > 0.0 { (age_s - self.ages_s[before]) / width } else { 0.0 };
        self.saved[before] + part * (self.saved[after] - self.saved[before])
    }

    /// The best interval at this age and what it saves: a coarse geometric scan (the value may have two
    /// humps on a bathtub), then a golden section around its best point.
    fn best(&self, lifetime: &Lifetime, age_s: f64) -> (f64, f64) {
        let dump_s = self.dump_s;
        let alive = lifetime.survival(age_s);
        let value = |tau: f64| {
            let then_s = age_s + tau + dump_s;
            let survives = if alive > 0.0 { lifetime.survival(then_s) / alive } else { 0.0 };
            survives * (tau + self.saved_at(then_s))
        };
        let longest_s = self.ages_s[self.ages_s.len() - 1].max(dump_s * 16.0);
        let ratio = (longest_s / dump_s * 4.0).powf(1.0 / 64.0);
        let mut best = (dump_s, value(dump_s));
        for i in 0..=64 {
            let tau = dump_s / 4.0 * ratio.powi(i);
            let saved = value(tau);
            if saved > best.1 {
                best = (tau, saved);
            }
        }
        let tau = golden(best.0 / ratio, best.0 * ratio, value);
        let refined = (tau, value(tau));
        if refined.1 > best.1 { refined } else { best }
    }
}

/// What is saved before the next failure from an age on at which the hazard no longer changes.
fn without_ageing_s(lifetime: &Lifetime, age_s: f64, dump_s: f64) -> f64 {
    let mean_s = 1.0 / lifetime.hazard(age_s);
    if mean_s <= 0.0 || !mean_s.is_finite() {
        return 0.0;
    }
    let tau = Exact::optimum_s(dump_s, mean_s);
    tau / ((tau + dump_s) / mean_s).exp_m1()
}

/// The age that one machine in a thousand outlives.
fn horizon_s(lifetime: &Lifetime) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while lifetime.survival(high) > 1e-3 && high < 1e12 {
        high *= 2.0;
    }
    while high - low > 1e-6 * high {
        let middle = f64::midpoint(low, high);
        if lifetime.survival(middle) > 1e-3 { low = middle } else { high = middle }
    }
    high
}

fn golden(mut low: f64, mut high: f64, value: impl Fn(f64) -> f64) -> f64 {
    const PHI: f64 = 0.618_033_988_749_894_9;
    for _ in 0..24 {
        let (a, b) = (high - PHI * (high - low), low + PHI * (high - low));
        if value(a) >= value(b) { high = b } else { low = a }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_contract::CostModel;

    fn interval(lifetime: Lifetime, dump_s: f64, age_s: f64) -> f64 {
        let cost = CostModel { dump_fixed_s: dump_s, ..CostModel::default() };
        DynamicProgramme::new(lifetime).interval_s(&Facts { age_s, ..Facts::new(cost, 0) })
    }

    #[test]
    fn without_ageing_it_is_the_exact_optimum_at_any_age() {
        for (dump_s, mean_s) in [(5.0, 1440.0), (5.0, 360.0), (5.0, 15.0), (1.0, 86_400.0)] {
            for age_s in [0.0, mean_s, 3.0 * mean_s] {
                let found = interval(Lifetime::Exponential { mean_s }, dump_s, age_s);
                let want = Exact::optimum_s(dump_s, mean_s);
                assert!(
                    (found / want - 1.0).abs() < 0.02,
                    "d {dump_s} M {mean_s} age {age_s}: {found} {want}"
                );
            }
        }
    }

    /// Expected work saved before the failure, by following the policy from age 0.
    fn saved(lifetime: Lifetime, dump_s: f64, next: impl Fn(f64) -> f64) -> f64 {
        let (mut age, mut total) = (0.0, 0.0);
        for _ in 0..100_000 {
            let tau = next(age);
            age += tau + dump_s;
            let alive = lifetime.survival(age);
            total += tau * alive;
            if alive < 1e-9 {
                break;
            }
        }
        total
    }

    #[test]
    fn on_ageing_machines_no_constant_interval_saves_more() {
        let laws = [
            Lifetime::Weibull { shape: 0.6, scale_s: 7200.0 },
            Lifetime::Weibull { shape: 2.5, scale_s: 7200.0 },
            Lifetime::Bathtub { a: 0.5, tau1_s: 3600.0, tau2_s: 2900.0, b_s: 86_400.0 },
        ];
        for lifetime in laws {
            let policy = DynamicProgramme::new(lifetime);
            let cost = CostModel { dump_fixed_s: 60.0, ..CostModel::default() };
            let ours =
                saved(lifetime, 60.0, |age_s| policy.interval_s(&Facts { age_s, ..Facts::new(cost, 0) }));
            for step in 0..60 {
                let fixed = 60.0 * 1.1_f64.powi(step);
                let theirs = saved(lifetime, 60.0, |_| fixed);
                assert!(ours >= theirs * 0.998, "{lifetime:?} fixed {fixed}: {ours} < {theirs}");
            }
        }
    }
}
