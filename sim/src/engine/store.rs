//! The checkpoint store's bandwidth, shared by everything that reads or writes at once: processor sharing
//! with a cap per flow, because one session's dump also has its own limit (its cores, its compression).
//!
//! Bandwidth is given out max-min fair: whoever cannot use an equal part leaves the rest to the others. All
//! writes have one cap and all reads another, so there are two classes within which all flows run at the
//! same rate. Each class keeps a virtual time, the bytes that a flow present from the start would have
//! moved; a flow is done when it reaches the value noted at its arrival plus its size. So arrivals,
//! departures and completions cost O(log n) however many flows are running, and no flow is ever rescanned.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Which way a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// An image is written.
    Write,
    /// An image is read.
    Read,
}

/// A running flow, to cancel it by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    class: u8,
    id: u64,
    /// Virtual time of the class at which the flow is done, in bytes.
    finish_bytes: f64,
}

#[derive(Debug, Default)]
struct Class {
    cap_bytes_per_s: f64,
    rate_bytes_per_s: f64,
    /// Virtual time: bytes moved by a flow that was always there.
    moved_bytes: f64,
    flows: BinaryHeap<Reverse<(Finish, u64, u32)>>,
    /// Flows that were cancelled but are still in the heap.
    cancelled: BTreeSet<u64>,
    active: usize,
}

/// A finite number of bytes with a total order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Finish(f64);
impl Eq for Finish {}
impl Ord for Finish {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl PartialOrd for Finish {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    bandwidth_bytes_per_s: f64,
    classes: [Class; 2],
    now_ns: u64,
    next_id: u64,
}

/// Flows that would be done within this many bytes are done: rounding must not leave crumbs.
const CRUMB_BYTES: f64 = 1e-3;

impl Store {
    /// A store of this bandwidth, with the most that one write and one read can use, in bytes per second.
    pub fn new(bandwidth_bytes_per_s: f64, write_cap_bytes_per_s: f64, read_cap_bytes_per_s: f64) -> Self {
        let class = |cap_bytes_per_s| Class { cap_bytes_per_s, ..Class::default() };
        let classes = [class(write_cap_bytes_per_s), class(read_cap_bytes_per_s)];
        Self { bandwidth_bytes_per_s, classes, now_ns: 0, next_id: 0 }
    }

    /// Starts a flow of `bytes` for `owner`.
    pub fn start(&mut self, now_ns: u64, direction: Direction, bytes: u64, owner: u32) -> Flow {
        self.advance(now_ns);
        let class_index = direction as u8;
        let class = &mut self.classes[class_index as usize];
        if class.active == 0 {
            class.clear();
        }
        let (id, finish_bytes) = (self.next_id, class.moved_bytes + bytes as f64);
        self.next_id += 1;
        class.flows.push(Reverse((Finish(finish_bytes), id, owner)));
        class.active += 1;
        self.share();
        Flow { class: class_index, id, finish_bytes }
    }

    /// Stops a running flow. Returns the bytes that it had not moved yet.
    pub fn cancel(&mut self, now_ns: u64, flow: Flow) -> f64 {
        self.advance(now_ns);
        let class = &mut self.classes[flow.class as usize];
        class.cancelled.insert(flow.id);
        class.active -= 1;
        let left_bytes = (flow.finish_bytes - class.moved_bytes).max(0.0);
        class.drop_cancelled();
        self.share();
        left_bytes
    }

    /// When the next flow is done, in nanoseconds, if nothing changes before.
    pub fn next_done_ns(&self) -> Option<u64> {
        self.classes.iter().filter_map(Class::next_done_in_s).min_by(f64::total_cmp).map(|in_s| {
            // Rounded up, so that at that time the flow is done.
            self.now_ns.saturating_add((in_s * 1e9).ceil() as u64)
        })
    }

    /// The owner of a flow that is done at `now_ns`, if there is one. Call until it says `None`.
    pub fn pop_done(&mut self, now_ns: u64) -> Option<u32> {
        self.advance(now_ns);
        for class in &mut self.classes {
            // A nanosecond's worth of bytes is within the rounding of time itself.
            let reached = class.moved_bytes + CRUMB_BYTES + class.rate_bytes_per_s * 1e-9;
            if let Some(&Reverse((finish, _, owner))) = class.flows.peek()
                && finish.0 <= reached
            {
                class.flows.pop();
                class.active -= 1;
                class.drop_cancelled();
                self.share();
                return Some(owner);
            }
        }
        None
    }

    /// How many flows are running.
    pub fn active(&self) -> usize {
        self.classes.iter().map(|class| class.active).sum()
    }

    fn advance(&mut self, now_ns: u64) {
        let seconds = now_ns.saturating_sub(self.now_ns) as f64 / 1e9;
        for class in &mut self.classes {
            class.moved_bytes += seconds * class.rate_bytes_per_s;
        }
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Max-min fair: the class with the lower cap first, as it may not use its part.
    fn share(&mut self) {
        let low = usize::from(self.classes[1].cap_bytes_per_s < self.classes[0].cap_bytes_per_s);
        let mut left_bytes_per_s = self.bandwidth_bytes_per_s;
        let mut left_flows = self.active();
        for index in [low, 1 - low] {
            let class = &mut self.classes[index];
            if class.active == 0 {
                class.rate_bytes_per_s = 0.0;
                continue;
            }
            class.rate_bytes_per_s = (left_bytes_per_s / left_flows as f64).min(class.cap_bytes_per_s);
            left_bytes_per_s -= class.rate_bytes_per_s * class.active as f64;
            left_flows -= class.active;
        }
    }
}

impl Class {
    fn clear(&mut self) {
        self.flows.clear();
        self.cancelled.clear();
        self.moved_bytes = 0.0;
    }

    /// Makes sure that the heap's top is a flow that is still running.
    fn drop_cancelled(&mut self) {
        while let Some(&Reverse((_, id, _))) = self.flows.peek()
            && self.cancelled.remove(&id)
        {
            self.flows.pop();
        }
    }

    fn next_done_in_s(&self) -> Option<f64> {
        let Reverse((finish, _, _)) = self.flows.peek()?;
        Some((finish.0 - self.moved_bytes).max(0.0) / self.rate_bytes_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs all flows to their end; returns (owner, seconds) in order of completion.
    fn run(store: &mut Store) -> Vec<(u32, f64)> {
        let mut done = Vec::new();
        while let Some(at_ns) = store.next_done_ns() {
            while let Some(owner) = store.pop_done(at_ns) {
                done.push((owner, at_ns as f64 / 1e9));
            }
        }
        done
    }

    #[test]
    fn alone_a_flow_runs_at_its_cap_and_many_share() {
        let mut store = Store::new(1000.0, 100.0, 100.0);
        store.start(0, Direction::Write, 1000, 7);
        assert_eq!(run(&mut store), [(7, 10.0)]);
        let mut store = Store::new(1000.0, 1000.0, 1000.0);
        // Processor sharing by hand: A 1000 B at 0, B 250 B at 0.5 s: B done at 1.0 s, A at 1.25 s.
        store.start(0, Direction::Write, 1000, 1);
        store.start(500_000_000, Direction::Write, 250, 2);
        assert_eq!(run(&mut store), [(2, 1.0), (1, 1.25)]);
    }

    #[test]
    fn what_capped_reads_leave_goes_to_writes() {
        let mut store = Store::new(1000.0, 1000.0, 100.0);
        store.start(0, Direction::Read, 100, 1);
        store.start(0, Direction::Write, 900, 2);
        assert_eq!(run(&mut store), [(2, 1.0), (1, 1.0)]);
    }

    #[test]
    fn a_cancelled_flow_gives_its_part_back() {
        let mut store = Store::new(1000.0, 1000.0, 1000.0);
        let first = store.start(0, Direction::Write, 1000, 1);
        store.start(0, Direction::Write, 1000, 2);
        let left = store.cancel(1_000_000_000, first);
        assert!((left - 500.0).abs() < 1e-6);
        assert_eq!(run(&mut store), [(2, 1.5)]);
        assert_eq!(store.active(), 0);
    }

    proptest! {
        /// No byte is lost or invented: with any arrivals, the store is done when all work is, and never
        /// before the bandwidth allows.
        #[test]
        fn work_is_conserved(sizes in prop::collection::vec((0u64..100_000, 0u64..5, any::<bool>()), 1..60)) {
            let mut store = Store::new(1000.0, 1e9, 1e9);
            let (mut now_ns, mut total, mut finished) = (0, 0, 0);
            for (index, &(bytes, gap_ms, write)) in sizes.iter().enumerate() {
                now_ns += gap_ms * 1_000_000;
                while let Some(at_ns) = store.next_done_ns().filter(|&at| at <= now_ns) {
                    while store.pop_done(at_ns).is_some() { finished += 1; }
                }
                let direction = if write { Direction::Write } else { Direction::Read };
                store.start(now_ns, direction, bytes, index as u32);
                total += bytes;
            }
            let last_s = run(&mut store).iter().map(|&(_, s)| { finished += 1; s }).fold(0.0, f64::max);
            prop_assert_eq!(finished, sizes.len());
            prop_assert!(last_s + 1e-6 >= total as f64 / 1000.0);
            prop_assert!(last_s <= total as f64 / 1000.0 + now_ns as f64 / 1e9 + 1e-6);
        }
    }
}
