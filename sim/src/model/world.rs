//! One run: the clock, the pending events, and everything that exists. This file holds the loop and the
//! bookkeeping; `life` moves sessions through their phases and `place` gives them machines.
//!
//! A session has at most two pending events: one *wake* at the earliest time at which anything of its own
//! can happen (its phase ends, its plan goes on, its policy wants to be asked), and one end of its machine.
//! Arrivals come from outside the queue. So the queue is as long as there are live sessions, however long
//! the trace is.

use super::bound::Reference;
use super::cluster::Cluster;
use super::explain::Explain;
use super::live::{Live, NEVER, Phase};
use super::metrics::{Cause, Metrics};
use super::spec::{CloudSpec, PeopleSpec, SlurmSpec, StoreSpec};
use super::spot::SpotPool;
use crate::engine::queue::Queue;
use crate::engine::store::Store;
use stasis_contract::CostModel;
use stasis_policy::Policy;
use stasis_policy::idle::History;
use stasis_workloads::{Job, Session, SpotTrace, TraceError, seconds_to_ns};

/// Everything that a run is made from.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What decides.
    pub policy: Policy,
    /// What dumps and restores cost.
    pub cost: CostModel,
    /// Where images go.
    pub store: StoreSpec,
    /// What people do.
    pub people: PeopleSpec,
    /// Machines for rent; exactly one of this and `slurm`.
    pub cloud: Option<CloudSpec>,
    /// A fixed cluster.
    pub slurm: Option<SlurmSpec>,
    /// Availability of spot machines over time, if it comes from a trace.
    pub spot_trace: Option<SpotTrace>,
    /// Seed of everything random.
    pub seed: u64,
    /// Which replication this is.
    pub replication: u64,
    /// The session whose life is to be told.
    pub explain: Option<u64>,
}

/// Sessions in order of submission.
pub type Sessions<'a> = &'a mut dyn Iterator<Item = Result<Session, TraceError>>;
/// Batch jobs in order of submission.
pub type Jobs<'a> = &'a mut dyn Iterator<Item = Result<Job, TraceError>>;

/// What a run leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Everything counted.
    pub metrics: Metrics,
    /// The life of the session that was asked for.
    pub explained: Vec<String>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Wake,
    Notice,
    Reclaim,
    Spot,
    BatchEnd,
    BatchEvict,
}

const KINDS: [Kind; 6] =
    [Kind::Wake, Kind::Notice, Kind::Reclaim, Kind::Spot, Kind::BatchEnd, Kind::BatchEvict];
const MONTH_NS: f64 = 30.0 * 86_400e9;
const GENERATION_BITS: u32 = 24;
pub(super) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

pub(super) fn pack(kind: Kind, generation: u32, slot: u32) -> u64 {
    (u64::from(slot) << 32) | (u64::from(generation & GENERATION_MASK) << 8) | kind as u64
}

fn slot_of(what: u64) -> usize {
    (what >> 32) as usize
}

/// So many events before a session is due, it is brought into the cache: they last for as long as that takes.
const LOOK_AHEAD: usize = 8;

/// A batch job in the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub job: Job,
    pub started_ns: u64,
    pub generation: u32,
}

/// What is remembered of a user beyond a session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct User {
    pub idle: History,
    pub peak_bytes: u64,
}

pub(super) struct World<'a> {
    pub setup: &'a Setup,
    pub now_ns: u64,
    pub queue: Queue,
    /// The live sessions by slot, and in free slots what is left of the last one.
    pub lives: Vec<Live>,
    pub free_slots: Vec<u32>,
    pub store: Store,
    /// When the store is done with a flow next. Not in the queue, as it changes with every flow.
    pub store_at_ns: u64,
    pub held_bytes: u64,
    pub held_since_ns: u64,
    pub spot: Option<SpotPool>,
    pub cluster: Option<Cluster>,
    pub cluster_dirty: bool,
    pub batch: Vec<Batch>,
    pub free_batch: Vec<u32>,
    /// By user number; empty unless the policy looks at users.
    pub users: Vec<User>,
    /// True if the policy looks at users' idle periods.
    pub predicts: bool,
    pub metrics: Metrics,
    pub explain: Explain,
    /// Seconds from asking to having a machine, smoothed: what policies are told to expect.
    pub expected_wait_s: f64,
    /// A machine's boot in nanoseconds.
    pub boot_ns: u64,
}

/// Runs sessions, and batch jobs beside them if the cluster has any, until the last session has ended.
///
/// # Errors
/// What the readers of the traces say, and a session that breaks its format's rules.
pub fn run(setup: &Setup, sessions: Sessions<'_>, jobs: Jobs<'_>) -> Result<Outcome, TraceError> {
    let mut world = World::new(setup);
    let mut arrival = sessions.next().transpose()?;
    let mut job = jobs.next().transpose()?;
    let mut live = 0u64;
    loop {
        let queued_ns = world.queue.next_ns().unwrap_or(NEVER);
        let due_ns = queued_ns.min(world.store_at_ns);
        let arrives_ns = arrival.as_ref().map_or(NEVER, |session| session.submit_ns);
        let job_ns = job.as_ref().map_or(NEVER, |job| job.submit_ns);
        if arrival.is_none() && live == 0 {
            break;
        }
        if arrives_ns <= due_ns && arrives_ns <= job_ns {
            if let Some(session) = arrival.take() {
                arrival = sessions.next().transpose()?;
                world.now_ns = world.now_ns.max(session.submit_ns);
                world.arrive(session);
                live += 1;
            }
        } else if job_ns <= due_ns {
            if let Some(submitted) = job.take() {
                job = jobs.next().transpose()?;
                world.now_ns = world.now_ns.max(submitted.submit_ns);
                world.submit_batch(submitted);
            }
        } else if world.store_at_ns <= queued_ns && world.store_at_ns != NEVER {
            world.flows_end();
        } else if let Some(entry) = world.queue.pop() {
            world.now_ns = entry.at_ns;
            world.look_ahead();
            live -= u64::from(world.handle(entry.what));
        } else {
            break; // sessions that wait for machines which never come
        }
        if world.cluster_dirty {
            world.schedule_cluster();
        }
    }
    world.metrics.sessions_stuck = live;
    Ok(world.finish())
}

impl<'a> World<'a> {
    fn new(setup: &'a Setup) -> Self {
        let cost = &setup.cost;
        let write_cap = (cost.dump_bytes_per_s * cost.image_bytes_per_resident_byte).max(1.0);
        let read_cap = (cost.restore_bytes_per_s * cost.image_bytes_per_resident_byte).max(1.0);
        let spot_spec = setup.cloud.as_ref().and_then(|cloud| cloud.spot.as_ref());
        let spot = spot_spec
            .map(|spec| SpotPool::new(spec, setup.spot_trace.clone(), setup.seed, setup.replication));
        let cluster =
            setup.slurm.as_ref().map(|slurm| Cluster::new(u64::from(slurm.cores) * 1000, slurm.discipline));
        let boot_s = setup.cloud.as_ref().map(|cloud| cloud.boot_s);
        let boot_s = boot_s.or(setup.slurm.as_ref().map(|slurm| slurm.launch_s)).unwrap_or(0.0);
        let mut world = Self {
            setup,
            now_ns: 0,
            queue: Queue::default(),
            lives: Vec::new(),
            free_slots: Vec::new(),
            store: Store::new(setup.store.bandwidth_bytes_per_s, write_cap, read_cap),
            store_at_ns: NEVER,
            held_bytes: 0,
            held_since_ns: 0,
            spot,
            cluster,
            cluster_dirty: false,
            batch: Vec::new(),
            free_batch: Vec::new(),
            users: Vec::new(),
            predicts: setup.policy.idle.is_predicted(),
            metrics: Metrics { wait_price_per_h: setup.people.wait_price_per_h, ..Metrics::default() },
            explain: Explain::of(setup.explain),
            expected_wait_s: boot_s,
            boot_ns: seconds_to_ns(boot_s),
        };
        if let Some(at_ns) = world.spot.as_mut().and_then(|spot| spot.step(0)) {
            world.queue.push(at_ns, pack(Kind::Spot, 0, 0));
        }
        world
    }

    /// Has the sessions brought into the cache that are due soon, while others are handled: with many live
    /// sessions waiting for memory would be most of the time. Changes nothing.
    fn look_ahead(&self) {
        let due_after =
            |events| self.queue.ahead(events).and_then(|entry| self.lives.get(slot_of(entry.what)));
        if let Some(live) = due_after(LOOK_AHEAD) {
            live.prefetch();
        }
        if let Some(live) = due_after(LOOK_AHEAD / 2) {
            live.prefetch_cell();
        }
    }

    /// Handles one event; true if a session ended.
    fn handle(&mut self, what: u64) -> bool {
        let slot = slot_of(what) as u32;
        let generation = (what >> 8) as u32 & GENERATION_MASK;
        match KINDS[(what & 0xff) as usize] {
            Kind::Wake => {
                if self.life(slot).wake_gen == generation {
                    self.metrics.events += 1;
                    return self.wake(slot);
                }
            }
            kind @ (Kind::Notice | Kind::Reclaim) => {
                if self.life(slot).machine_gen == generation {
                    self.metrics.events += 1;
                    if kind == Kind::Notice { self.notice(slot) } else { self.reclaim(slot) }
                }
            }
            Kind::Spot => self.spot_changes(),
            Kind::BatchEnd => self.batch_ends(slot, generation),
            Kind::BatchEvict => self.batch_is_evicted(slot, generation),
        }
        false
    }

    /// The session in a slot; pending events of sessions that have ended do not match its generations.
    pub fn life(&mut self, slot: u32) -> &mut Live {
        &mut self.lives[slot as usize]
    }

    /// Pushes the session's next wake, unless that is pending already.
    pub fn arm(&mut self, slot: u32) {
        let live = &mut self.lives[slot as usize];
        let next_ns = live.phase_at_ns.min(live.plan_at_ns).min(live.timer_at_ns);
        if next_ns == live.wake_at_ns {
            return;
        }
        live.wake_at_ns = next_ns;
        live.wake_gen = live.wake_gen.wrapping_add(1) & GENERATION_MASK;
        if next_ns != NEVER {
            self.queue.push(next_ns, pack(Kind::Wake, live.wake_gen, slot));
        }
    }

    /// Works out when the store is done with a flow next.
    pub fn schedule_store(&mut self) {
        self.store_at_ns = self.store.next_done_ns().map_or(NEVER, |at_ns| at_ns.max(self.now_ns));
    }

    /// The store is done with at least one flow.
    fn flows_end(&mut self) {
        self.metrics.events += 1;
        self.now_ns = self.store_at_ns;
        while let Some(owner) = self.store.pop_done(self.now_ns) {
            self.flow_done(owner);
        }
        self.schedule_store();
    }

    /// Books the time since the last banking under what the session was doing, and moves its work on.
    pub fn bank(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let live = &mut self.lives[slot as usize];
        let span_ns = now_ns - std::mem::replace(&mut live.since_ns, now_ns);
        if span_ns == 0 {
            return;
        }
        let (market, rate) = match &live.machine {
            Some(machine) => (machine.market, machine.rate_per_h),
            None => (stasis_policy::placement::Market::OnDemand, 0.0),
        };
        let cause = match live.phase {
            Phase::Suspended | Phase::Off => return,
            Phase::Requeued | Phase::Waiting => Cause::Queue,
            Phase::Booting | Phase::Starting => Cause::Boot,
            Phase::RestoringFixed | Phase::Reading => Cause::Restore,
            Phase::DumpingFixed(_) | Phase::Writing(_) => Cause::Dump,
            Phase::Idle => Cause::Idle,
            Phase::Computing => {
                let redone_ns = span_ns.min(live.redo_ns);
                live.redo_ns -= redone_ns;
                live.cell_done_ns += span_ns - redone_ns;
                live.unsaved_ns += span_ns;
                if redone_ns > 0 {
                    self.metrics.book(market, Cause::Lost, redone_ns, rate);
                }
                self.metrics.book(market, Cause::Busy, span_ns - redone_ns, rate);
                return;
            }
        };
        self.metrics.book(market, cause, span_ns, rate);
    }

    /// Ends one phase and begins another, which ends by itself at `until_ns`.
    pub fn enter(&mut self, slot: u32, phase: Phase, until_ns: u64) {
        self.bank(slot);
        let live = &mut self.lives[slot as usize];
        self.metrics.occupancy.change(self.now_ns, Some(live.phase.state()), Some(phase.state()));
        live.phase = phase;
        live.phase_at_ns = until_ns;
        live.timer_at_ns = NEVER;
    }

    /// The store holds more or fewer bytes from now on.
    pub fn hold(&mut self, added_bytes: u64, removed_bytes: u64) {
        let span_ns = self.now_ns - std::mem::replace(&mut self.held_since_ns, self.now_ns);
        let byte_ns = self.held_bytes as f64 * span_ns as f64;
        self.metrics.held_byte_ns += byte_ns;
        self.metrics.store_money += byte_ns / 1e9 / MONTH_NS * self.setup.store.price_per_gb_month;
        self.held_bytes = (self.held_bytes + added_bytes).saturating_sub(removed_bytes);
        self.metrics.held_bytes_max = self.metrics.held_bytes_max.max(self.held_bytes);
    }

    /// What baseline and bound are reckoned from.
    pub fn reference(&self) -> Reference<'a> {
        Reference {
            cost: &self.setup.cost,
            people: &self.setup.people,
            cloud: self.setup.cloud.as_ref(),
            slurm: self.setup.slurm.as_ref(),
        }
    }

    /// Tells about a session, if it is the one to be explained.
    pub fn say(&mut self, slot: u32, what: impl FnOnce(&Live) -> String) {
        if self.setup.explain.is_some() {
            let live = &self.lives[slot as usize];
            self.explain.say(live.plan.id, self.now_ns, || what(live));
        }
    }

    fn finish(mut self) -> Outcome {
        self.hold(0, 0);
        self.metrics.end_ns = self.now_ns;
        self.metrics.occupancy.change(self.now_ns, None, None);
        Outcome { metrics: self.metrics, explained: self.explain.lines }
    }
}
