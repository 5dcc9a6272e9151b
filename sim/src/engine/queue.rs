//! The event queue: a 4-ary heap over (time, sequence), which is a total order, so that equal times pop in
//! the order in which they were pushed and a run is the same on every machine. It must not know events.
//!
//! A heap of arity 4 touches half the cache lines of a binary one. Entries are 24 bytes. Cancelling is
//! lazy and the model's business: it lets a stale event pop and compares generations.

/// What is pushed: a time, and 64 bits that the model packs as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When, in nanoseconds of simulated time.
    pub at_ns: u64,
    sequence: u64,
    /// What.
    pub what: u64,
}

impl Entry {
    fn before(&self, other: &Self) -> bool {
        (self.at_ns, self.sequence) < (other.at_ns, other.sequence)
    }
}

/// Pending events.
#[derive(Debug, Default)]
pub struct Queue {
    heap: Vec<Entry>,
    pushed: u64,
}

const ARITY: usize = 4;

impl Queue {
    /// Adds an event.
    pub fn push(&mut self, at_ns: u64, what: u64) {
        let entry = Entry { at_ns, sequence: self.pushed, what };
        self.pushed += 1;
        let mut hole = self.heap.len();
        self.heap.push(entry);
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if !entry.before(&self.heap[parent]) {
                break;
            }
            self.heap[hole] = self.heap[parent];
            hole = parent;
        }
        self.heap[hole] = entry;
    }

    /// The time of the next event.
    pub fn next_ns(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at_ns)
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<Entry> {
        let last = self.heap.pop()?;
        let Some(&first) = self.heap.first() else { return Some(last) };
        let heap = &mut self.heap[..];
        let mut hole = 0;
        loop {
            let child = hole * ARITY + 1;
            let Some(children) = heap.get(child..(child + ARITY).min(heap.len())).filter(|c| !c.is_empty())
            else {
                break;
            };
            let mut least = 0;
            for other in 1..children.len() {
                if children[other].before(&children[least]) {
                    least = other;
                }
            }
            if !children[least].before(&last) {
                break;
            }
            heap[hole] = heap[child + least];
            hole = child + least;
        }
        heap[hole] = last;
        Some(first)
    }

    /// How many are pending, stale ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True if nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    #[test]
    fn equal_times_pop_in_the_order_of_their_push() {
        let mut queue = Queue::default();
        for what in 0..100 {
            queue.push(7, what);
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|entry| entry.what).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn it_pops_what_a_binary_heap_pops(ops in prop::collection::vec(prop::option::of(0u64..50), 1..400)) {
            let (mut ours, mut theirs) = (Queue::default(), BinaryHeap::new());
            for (index, op) in (0u64..).zip(ops) {
                if let Some(at_ns) = op {
                    ours.push(at_ns, index);
                    theirs.push(Reverse((at_ns, index)));
                } else {
                    let want = theirs.pop().map(|Reverse(pair)| pair);
                    prop_assert_eq!(ours.pop().map(|e| (e.at_ns, e.what)), want);
                }
                prop_assert_eq!(ours.len(), theirs.len());
                prop_assert_eq!(ours.next_ns(), theirs.peek().map(|Reverse((at, _))| *at));
            }
        }
    }
}
