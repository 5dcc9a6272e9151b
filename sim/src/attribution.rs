//! Who is to be thanked for the savings: idle handling, spot machines, right-sizing. They do not multiply
//! (an idle machine that is given back saves less if it was a cheap one), so the factor saved is shared out
//! by Shapley's value (Shapley 1953) of the logarithm: each part gets its mean effect over all orders in
//! which the three could be introduced, and the parts' factors multiply to the whole exactly.

use crate::model::metrics::Metrics;
use crate::replicate::{Amount, RunError, Watch, all};
use crate::scenario::Prepared;
use serde::Serialize;
use stasis_policy::placement::{MarketPolicy, SizePolicy};
use stasis_policy::{Idle, Policy};

/// The parts of a policy that save money.
pub const PARTS: [&str; 3] = ["idle", "spot", "right_size"];

/// Factors saved against always-on, on-demand machines at the requested size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Attribution {
    /// All three together.
    pub total: f64,
    /// Idle handling.
    pub idle: f64,
    /// Spot machines.
    pub spot: f64,
    /// Right-sizing.
    pub right_size: f64,
    /// What boots, dumps and waits of always-on sessions cost: the factor of a policy with none of the
    /// three, below 1.
    pub overhead: f64,
}

/// The policy with only the parts in `mask` (bit i for `PARTS[i]`).
fn only(policy: &Policy, mask: usize) -> Policy {
    let mut policy = policy.clone();
    if mask & 1 == 0 {
        policy.idle = Idle::default();
    }
    if mask & 2 == 0 {
        policy.placement.market = MarketPolicy::default();
    }
    if mask & 4 == 0 {
        policy.placement.size = SizePolicy::default();
    }
    policy
}

/// Runs the policy with each subset of its parts, under the same randomness, and shares out the savings.
/// `whole` are the runs of the policy itself.
///
/// # Errors
/// As for the runs.
pub fn attribute(prepared: &Prepared, whole: &[Metrics], watch: &Watch<'_>) -> Result<Attribution, RunError> {
    let policy = &prepared.scenario.policy;
    let mut logs = [0.0; 8];
    for mask in 0..8 {
        // A part that the policy does not have changes nothing: the run is one that was made already.
        let twin = (0..mask).find(|&other| only(policy, other) == only(policy, mask));
        logs[mask] = if only(policy, mask) == *policy {
            log_factor(whole)
        } else if let Some(twin) = twin {
            logs[twin]
        } else {
            let mut variant = prepared.clone();
            variant.scenario.policy = only(policy, mask);
            log_factor(&all(&variant, Amount::Fixed(whole.len() as u64), watch)?)
        };
    }
    let shares = shapley(&logs);
    Ok(Attribution {
        total: logs[7].exp(),
        idle: shares[0].exp(),
        spot: shares[1].exp(),
        right_size: shares[2].exp(),
        overhead: logs[0].exp(),
    })
}

fn log_factor(runs: &[Metrics]) -> f64 {
    let baseline: f64 = runs.iter().map(|run| run.baseline_money).sum();
    let money: f64 = runs.iter().map(Metrics::total_money).sum();
    (baseline / money).ln()
}

/// Each part's Shapley value; `worth[mask]` is the worth of a subset.
fn shapley(worth: &[f64; 8]) -> [f64; 3] {
    // |S|! (n - |S| - 1)! / n! for n = 3
    const WEIGHT: [f64; 3] = [1.0 / 3.0, 1.0 / 6.0, 1.0 / 3.0];
    std::array::from_fn(|part| {
        (0..8usize)
            .filter(|mask| mask & (1 << part) == 0)
            .map(|mask| WEIGHT[mask.count_ones() as usize] * (worth[mask | (1 << part)] - worth[mask]))
            .sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_and_a_part_without_effect_gets_none() {
        // the glove game and a dummy: parts 0 and 1 are worth 1 together, part 2 nothing
        let worth: [f64; 8] = std::array::from_fn(|mask| f64::from(u8::from(mask & 3 == 3)));
        let [a, b, c] = shapley(&worth);
        assert!((a - 0.5).abs() < 1e-12 && (b - 0.5).abs() < 1e-12 && c.abs() < 1e-12);
        let worth = [0.0, 0.3, 0.7, 0.8, 0.1, 0.35, 0.75, 1.1];
        assert!((shapley(&worth).iter().sum::<f64>() - 1.1).abs() < 1e-12);
    }
}
