//! The event queue: a total order over (time, sequence), so that equal times pop in the order in which they
//! were pushed and a run is the same on every machine. It must not know events.
//!
//! What is due soon is *near*: a short sorted list, and a small 4-ary heap of what was added since the list
//! was sorted; both stay in the nearest cache. All else is *far*: sorted by time into buckets, 64 to a level,
//! of which each level's are 64 times as wide as those of the level below (a radix heap). When nothing is
//! near, the earliest bucket is sorted and becomes near, or if it is large is spread over the levels below
//! first. So adding an event appends to a list, and an event is moved a few times, each time together with
//! its neighbours, where a heap would have missed the cache at every step.
//!
//! Cancelling is lazy and the model's business: it lets a stale event pop and compares generations.

use std::cmp::Reverse;

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
    fn key(&self) -> u128 {
        (u128::from(self.at_ns) << 64) | u128::from(self.sequence)
    }

    fn before(&self, other: &Self) -> bool {
        self.key() < other.key()
    }
}

/// Pending events.
#[derive(Debug)]
pub struct Queue {
    /// What is due before `near_until_ns`, the next last; and what was added to it, as a heap. Both are empty
    /// only if nothing is pending, and after a pop `near` is short only if nothing is far.
    near: Vec<Entry>,
    added: Vec<Entry>,
    near_until_ns: u64,
    /// What is near is sorted out again when so much was added.
    added_max: usize,
    /// The rest, by level and bucket. An entry's level is that of the highest digit in which its time
    /// differs from `base_ns`, its bucket is that digit: so lower levels are due sooner.
    far: Box<[Vec<Entry>]>,
    base_ns: u64,
    /// Buckets of each level that hold anything, a bit each.
    filled: [u64; LEVELS],
    far_len: usize,
    pushed: u64,
}

const ARITY: usize = 4;
/// A digit of a time, in bits; as many buckets as there are bits in a word.
const DIGIT: u32 = 6;
const BUCKETS: usize = 1 << DIGIT;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT) as usize;
/// A bucket of no more than this becomes near as it is.
const FEW: usize = 64;
/// So much is always known to be next, if there is so much.
const NEAR_MIN: usize = 16;
/// A bucket that has had room for more than this gives it back.
const ROOM_MAX: usize = 1024;

impl Default for Queue {
    fn default() -> Self {
        Self {
            near: Vec::new(),
            added: Vec::new(),
            near_until_ns: 0,
            added_max: 4 * FEW,
            far: (0..LEVELS * BUCKETS).map(|_| Vec::new()).collect(),
            base_ns: 0,
            filled: [0; LEVELS],
            far_len: 0,
            pushed: 0,
        }
    }
}

impl Queue {
    /// Adds an event.
    pub fn push(&mut self, at_ns: u64, what: u64) {
        let entry = Entry { at_ns, sequence: self.pushed, what };
        self.pushed += 1;
        if at_ns < self.near_until_ns {
            self.push_added(entry);
            if self.added.len() >= self.added_max {
                self.sort_out();
            }
        } else {
            self.push_far(entry);
            if self.is_empty() {
                self.refill();
            }
        }
    }

    /// The time of the next event.
    pub fn next_ns(&self) -> Option<u64> {
        match (self.near.last(), self.added.first()) {
            (Some(near), Some(added)) => Some(near.at_ns.min(added.at_ns)),
            (near, added) => near.or(added).map(|entry| entry.at_ns),
        }
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<Entry> {
        let added = self.added.first().filter(|added| self.near.last().is_none_or(|near| added.before(near)));
        let first = if added.is_some() { self.pop_added() } else { self.near.pop() };
        if self.near.len() < NEAR_MIN && self.far_len > 0 {
            self.refill();
        }
        first
    }

    /// What is due after `events` others, if that is known already and nothing comes between. For those who
    /// would like to bring into the cache what it is about.
    pub fn ahead(&self, events: usize) -> Option<&Entry> {
        self.near.len().checked_sub(events + 1).map(|index| &self.near[index])
    }

    /// How many are pending, stale ones included.
    pub fn len(&self) -> usize {
        self.near.len() + self.added.len() + self.far_len
    }

    /// True if nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.added.is_empty()
    }

    fn push_far(&mut self, entry: Entry) {
        let level = ((entry.at_ns ^ self.base_ns) | 1).ilog2() / DIGIT;
        let bucket = (entry.at_ns >> (level * DIGIT)) as usize % BUCKETS;
        self.filled[level as usize] |= 1 << bucket;
        self.far[level as usize * BUCKETS + bucket].push(entry);
        self.far_len += 1;
    }

    /// Makes the earliest bucket near, before little is.
    fn refill(&mut self) {
        while let Some(level) = self.filled.iter().position(|&filled| filled != 0) {
            let bucket = self.filled[level].trailing_zeros() as usize;
            self.filled[level] &= !(1 << bucket);
            let index = level * BUCKETS + bucket;
            let mut entries = std::mem::take(&mut self.far[index]);
            self.far_len -= entries.len();
            let shift = level as u32 * DIGIT;
            let above = u64::MAX.checked_shl(shift + DIGIT).unwrap_or(0);
            self.base_ns = (self.base_ns & above) | ((bucket as u64) << shift);
            let done = level == 0 || entries.len() <= FEW;
            if done {
                entries.sort_unstable_by_key(|entry| Reverse(entry.key()));
                entries.append(&mut self.near);
                std::mem::swap(&mut entries, &mut self.near);
                let last_ns = self.near.first().map_or(0, |entry| entry.at_ns);
                self.near_until_ns = last_ns.saturating_add(1);
                self.added_max = 4 * FEW.max(self.near.len());
            } else {
                entries.drain(..).for_each(|entry| self.push_far(entry));
            }
            if entries.capacity() <= ROOM_MAX {
                self.far[index] = entries;
            }
            if done {
                break;
            }
        }
    }

    /// So much has come before the last of what was near that less should be.
    fn sort_out(&mut self) {
        let first_ns = self.next_ns().unwrap_or(self.base_ns);
        if first_ns < self.base_ns {
            // The clock stands before the earliest bucket. Seen from there, all that is on lower levels than
            // the highest digit that differs is in one bucket.
            let level = ((first_ns ^ self.base_ns) | 1).ilog2() / DIGIT;
            let bucket = (self.base_ns >> (level * DIGIT)) as usize % BUCKETS;
            let (below, rest) = self.far.split_at_mut(level as usize * BUCKETS);
            let into = &mut rest[bucket];
            for entries in below {
                into.append(entries);
            }
            self.filled[..level as usize].fill(0);
            self.filled[level as usize] |= u64::from(!into.is_empty()) << bucket;
            self.base_ns = first_ns;
        }
        self.near_until_ns = self.base_ns;
        for entry in std::mem::take(&mut self.near).into_iter().chain(std::mem::take(&mut self.added)) {
            self.push_far(entry);
        }
        self.refill();
    }

    fn push_added(&mut self, entry: Entry) {
        let mut hole = self.added.len();
        self.added.push(entry);
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if !entry.before(&self.added[parent]) {
                break;
            }
            self.added[hole] = self.added[parent];
            hole = parent;
        }
        self.added[hole] = entry;
    }

    fn pop_added(&mut self) -> Option<Entry> {
        let last = self.added.pop()?;
        let Some(&first) = self.added.first() else { return Some(last) };
        let heap = &mut self.added[..];
        let mut hole = 0;
        loop {
            let child = hole * ARITY + 1;
            let Some(children) = heap.get(child..(child + ARITY).min(heap.len())).filter(|c| !c.is_empty())
            else {
                break;
            };
            let least = (1..children.len())
                .fold(0, |least, other| if children[other].before(&children[least]) { other } else { least });
            if !children[least].before(&last) {
                break;
            }
            heap[hole] = heap[child + least];
            hole = child + least;
        }
        heap[hole] = last;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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

        #[test]
        fn so_it_does_with_many_events_and_times_of_any_size(
            ops in prop::collection::vec((0u32..64, any::<u64>(), 0u32..3), 1..3000)
        ) {
            let (mut ours, mut theirs, mut now_ns) = (Queue::default(), BinaryHeap::new(), 0u64);
            for (index, (bits, draw, op)) in (0u64..).zip(ops) {
                if op > 0 {
                    let at_ns = now_ns.saturating_add(draw >> bits);
                    ours.push(at_ns, index);
                    theirs.push(Reverse((at_ns, index)));
                } else {
                    let want = theirs.pop().map(|Reverse(pair)| pair);
                    now_ns = want.map_or(now_ns, |(at_ns, _)| at_ns.min(1 << 60));
                    prop_assert_eq!(ours.pop().map(|e| (e.at_ns, e.what)), want);
                }
                prop_assert_eq!(ours.len(), theirs.len());
            }
            while let Some(Reverse(pair)) = theirs.pop() {
                prop_assert_eq!(ours.pop().map(|e| (e.at_ns, e.what)), Some(pair));
            }
            prop_assert!(ours.is_empty());
        }
    }
}
