//! The spot market's machines: how many there are, who has them, and whose are taken when there are fewer.

use super::spec::SpotSpec;
use stasis_workloads::SpotTrace;
use stasis_workloads::streams::{Purpose, Stream, stream};

const VICTIM: Purpose = Purpose::named("sim/spot-victim");
const START: Purpose = Purpose::named("sim/spot-start");

/// Capacity over time and its users.
#[derive(Debug)]
pub struct SpotPool {
    capacity: u32,
    /// Who has a machine, in no meaning order.
    users: Vec<u32>,
    /// Where in that list an owner is, by owner. Not kept with the sessions, of which it would touch another
    /// one whenever a machine is given back.
    places: Vec<u32>,
    /// Who waits for one, in order of asking.
    pub waiting: std::collections::VecDeque<u32>,
    trace: Option<Availability>,
    victims: Stream,
}

#[derive(Debug)]
struct Availability {
    trace: SpotTrace,
    machines_per_instance: u32,
    /// Nanoseconds of the trace at simulated time 0.
    offset_ns: u64,
}

impl SpotPool {
    /// The market of one replication. A trace in which there never is a machine means a capacity of none.
    pub fn new(spec: &SpotSpec, trace: Option<SpotTrace>, seed: u64, replication: u64) -> Self {
        let none = trace.as_ref().is_some_and(|t| t.steps().iter().all(|step| step.instances == 0));
        let trace = trace.filter(|_| !none && spec.machines_per_instance > 0).map(|trace| {
            let offset_ns = stream(seed, replication, 0, START).below(trace.length_ns());
            Availability { trace, machines_per_instance: spec.machines_per_instance, offset_ns }
        });
        let mut pool = Self {
            capacity: if none { 0 } else { spec.capacity.unwrap_or(u32::MAX) },
            users: Vec::new(),
            places: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            trace,
            victims: stream(seed, replication, 0, VICTIM),
        };
        pool.step(0);
        pool
    }

    /// True if a machine can be had.
    pub fn has_room(&self) -> bool {
        self.users.len() < self.capacity as usize
    }

    /// How many machines are in use beyond the capacity.
    pub fn excess(&self) -> usize {
        self.users.len().saturating_sub(self.capacity as usize)
    }

    /// Sets the capacity for `now_ns`. Returns when it changes next.
    pub fn step(&mut self, now_ns: u64) -> Option<u64> {
        let availability = self.trace.as_ref()?;
        let length_ns = availability.trace.length_ns();
        let at_ns =
            ((u128::from(now_ns) + u128::from(availability.offset_ns)) % u128::from(length_ns)) as u64;
        self.capacity = availability.trace.at(at_ns).saturating_mul(availability.machines_per_instance);
        let next_ns = availability.trace.next_change_ns(at_ns).unwrap_or(length_ns);
        now_ns.checked_add(next_ns - at_ns)
    }

    /// Gives a machine to `owner`.
    pub fn take(&mut self, owner: u32) {
        let place = owner as usize;
        if place >= self.places.len() {
            self.places.resize(place + 1, 0);
        }
        self.places[place] = self.users.len() as u32;
        self.users.push(owner);
    }

    /// Takes the machine of `owner` back, who has one.
    pub fn give_back(&mut self, owner: u32) {
        let place = self.places[owner as usize];
        self.users.swap_remove(place as usize);
        if let Some(&moved) = self.users.get(place as usize) {
            self.places[moved as usize] = place;
        }
    }

    /// `count` different users, by lot, in the order of the lot.
    pub fn draw_victims(&mut self, count: usize) -> Vec<u32> {
        let mut lot = self.users.clone();
        let count = count.min(lot.len());
        for index in 0..count {
            let other = index + self.victims.below((lot.len() - index) as u64) as usize;
            lot.swap(index, other);
        }
        lot.truncate(count);
        lot
    }
}
