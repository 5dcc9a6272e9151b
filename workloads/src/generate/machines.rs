//! Generated lives of preemptible machines and availability of spot capacity.

use super::spec::{LifetimeSpec, SpotSpec};
use crate::error::Invalid;
use crate::law::seconds_to_ns;
use crate::spot::SpotTrace;
use crate::streams::{Purpose, stream};

const LIFETIME: Purpose = Purpose::named("workloads/lifetime");
const SPOT: Purpose = Purpose::named("workloads/spot");

/// Nobody times a life finer than this, in nanoseconds.
const TICK_NS: u64 = 1_000_000;

/// Lives in nanoseconds, whole milliseconds.
///
/// # Errors
/// The law is out of range.
pub fn lifetimes_ns(
    spec: &LifetimeSpec,
    seed: u64,
    replication: u64,
) -> Result<impl Iterator<Item = u64> + use<>, Invalid> {
    spec.law.validate()?;
    let law = spec.law;
    let mut draw = stream(seed, replication, 0, LIFETIME);
    Ok((0..spec.count)
        .map(move |_| law.sample_ns(&mut draw).clamp(TICK_NS, u64::MAX - TICK_NS).next_multiple_of(TICK_NS)))
}

/// A spot trace that alternates between all and nothing, beginning with all.
///
/// # Errors
/// A law or the gap is out of range.
pub fn spot(spec: &SpotSpec, seed: u64, replication: u64) -> Result<SpotTrace, Invalid> {
    spec.available.validate()?;
    spec.unavailable.validate()?;
    let mut trace = SpotTrace::new(seconds_to_ns(spec.gap_seconds))?;
    let mut draw = stream(seed, replication, 0, SPOT);
    let (mut up, mut left) = (true, u64::from(spec.ticks));
    while left > 0 {
        let law = if up { spec.available } else { spec.unavailable };
        let ticks = (law.sample_s(&mut draw) / spec.gap_seconds).round().max(1.0) as u64;
        trace.push_many(if up { spec.instances } else { 0 }, ticks.min(left))?;
        left -= ticks.min(left);
        up = !up;
    }
    Ok(trace)
}
