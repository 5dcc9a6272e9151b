//! Work with a deadline on a spot trace: the model of Can't Be Late (Wu et al., NSDI 2024), in which their
//! Table 3 is stated. One job; at each tick of the trace spot is there or not; a change of machine costs
//! `changeover_s` before work goes on. It replays the market policies that sessions use, and adds the
//! offline optimum that no policy beats.

use stasis_policy::placement::{Market, MarketFacts, MarketPolicy, Work};
use stasis_workloads::{NS_PER_S, SpotTrace};

/// The job and its machines, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Work: C(0).
    pub work_s: f64,
    /// Deadline: R(0).
    pub deadline_s: f64,
    /// Cost of a change of machine: d.
    pub changeover_s: f64,
}

/// What became of the job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Replay {
    /// Work done on demand, in seconds.
    pub on_demand_s: f64,
    /// Work done on spot, in seconds.
    pub spot_s: f64,
    /// On-demand machines paid for, changes included, in seconds.
    pub paid_on_demand_s: f64,
    /// Spot machines paid for, changes included, in seconds.
    pub paid_spot_s: f64,
    /// True if all work was done by the deadline.
    pub in_time: bool,
}

/// Work is done within this many seconds.
const DONE_S: f64 = 1e-6;

/// Runs the job from tick `start` of the trace under a policy, asking it at every tick.
pub fn replay(job: &Job, policy: &MarketPolicy, trace: &SpotTrace, start: u64) -> Replay {
    let tick_s = trace.gap_ns() as f64 / NS_PER_S as f64;
    let ticks = (job.deadline_s / tick_s).round() as u64;
    let mut on = None;
    let (mut change_left_s, mut done_s) = (0.0_f64, 0.0);
    let mut replay = Replay::default();
    for tick in 0..ticks {
        if job.work_s - done_s <= DONE_S {
            break;
        }
        let spot_available = trace.at((start + tick) * trace.gap_ns()) > 0;
        if on == Some(Market::Spot) && !spot_available {
            on = None;
        }
        let next = policy.choose(&MarketFacts {
            on,
            spot_available,
            waiting_s: 0.0,
            elapsed_s: tick as f64 * tick_s,
            work: Some(Work { total_s: job.work_s, done_s, deadline_s: job.deadline_s }),
            changeover_s: job.changeover_s,
            tick_s,
        });
        if next != on {
            change_left_s = job.changeover_s;
            on = next;
        }
        let Some(market) = on else { continue };
        let span_s = tick_s.min(change_left_s + job.work_s - done_s);
        let changing_s = change_left_s.min(span_s);
        change_left_s -= changing_s;
        let worked_s = span_s - changing_s;
        done_s += worked_s;
        let (work, paid) = match market {
            Market::OnDemand => (&mut replay.on_demand_s, &mut replay.paid_on_demand_s),
            Market::Spot => (&mut replay.spot_s, &mut replay.paid_spot_s),
        };
        *work += worked_s;
        *paid += span_s;
    }
    replay.in_time = job.work_s - done_s <= DONE_S;
    replay
}

/// The most work that can be done on spot with all of it in time, by a policy that knows the trace, in
/// seconds: what is left is done on demand. An upper bound that is tight but for one change of machine.
///
/// Work on spot is limited by the ticks with spot, less a change at the start of each stretch that is used;
/// a stretch that is not longer than a change is of no use. On-demand work fits into what is left of the
/// deadline, with its own change. Both are necessary, so no policy does more on spot.
pub fn most_on_spot_s(job: &Job, trace: &SpotTrace, start: u64) -> f64 {
    let tick_s = trace.gap_ns() as f64 / NS_PER_S as f64;
    let ticks = (job.deadline_s / tick_s).round() as u64;
    let (mut most_s, mut stretch_s) = (0.0, 0.0_f64);
    for tick in 0..=ticks {
        if tick < ticks && trace.at((start + tick) * trace.gap_ns()) > 0 {
            stretch_s += tick_s;
        } else {
            most_s += (std::mem::take(&mut stretch_s) - job.changeover_s).max(0.0);
        }
    }
    most_s.min(job.work_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stasis_policy::placement::{Greedy, OnDemandOnly, UniformProgress};

    fn trace(ticks: &[u32]) -> SpotTrace {
        let mut trace = SpotTrace::new(600 * NS_PER_S).expect("a gap");
        for &tick in ticks {
            trace.push(tick).expect("short");
        }
        trace
    }

    const JOB: Job = Job { work_s: 6000.0, deadline_s: 12_000.0, changeover_s: 300.0 };

    #[test]
    fn with_spot_throughout_all_is_done_on_spot() {
        let found = replay(&JOB, &MarketPolicy::Greedy(Greedy {}), &trace(&[1; 20]), 0);
        assert!(
            found.in_time
                && (found.spot_s - 6000.0).abs() < 1e-6
                && (found.paid_spot_s - 6300.0).abs() < 1e-6
        );
    }

    proptest! {
        #[test]
        fn nobody_is_late_and_nobody_beats_foresight(ticks in prop::collection::vec(0u32..2, 20)) {
            let trace = trace(&ticks);
            let policies = [
                MarketPolicy::OnDemandOnly(OnDemandOnly {}),
                MarketPolicy::Greedy(Greedy {}),
                MarketPolicy::UniformProgress(UniformProgress {}),
            ];
            for policy in policies {
                let found = replay(&JOB, &policy, &trace, 0);
                prop_assert!(found.in_time, "{policy:?} {found:?}");
                prop_assert!(found.spot_s <= most_on_spot_s(&JOB, &trace, 0) + 1e-6);
            }
        }
    }
}
