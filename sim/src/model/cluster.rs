//! A fixed Slurm cluster: cores, partitions with priority tiers laid over all of them, FIFO or EASY backfill,
//! and preemption of lower tiers with a grace time. Cores are one pool: a job may spread over nodes as batch
//! jobs do, and fragmentation is not modelled. It must not know what its jobs are.
//!
//! EASY backfill: Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995; as in Mu'alem and Feitelson 2001,
//! only the first job in the queue has a reservation, made from the limits of the running jobs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the queue is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discipline {
    /// In order; nothing overtakes.
    Fifo,
    /// Later jobs may start if they do not delay the first one.
    #[default]
    EasyBackfill,
}

/// A job that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Whose it is; unique among the jobs in the cluster.
    pub owner: u32,
    /// Thousandths of cores.
    pub cores_milli: u64,
    /// The longest it may run, in nanoseconds: what backfill plans with.
    pub limit_ns: u64,
    /// Priority tier of its partition: higher goes first, and preempts lower ones.
    pub tier: u32,
    /// How long it is given to vacate its cores when preempted; `None`: it is never preempted.
    pub grace_ns: Option<u64>,
}

/// What one pass of the scheduler decided.
#[derive(Debug, Default)]
pub struct Pass {
    /// Owners that have their cores now.
    pub started: Vec<u32>,
    /// Owners that must vacate, and the time in nanoseconds by which they must.
    pub preempted: Vec<(u32, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    request: Request,
    started_ns: u64,
    vacating: bool,
}

/// Where a running job is in `running`.
type Key = (u64, u32);

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    discipline: Discipline,
    free_milli: u64,
    vacating_milli: u64,
    /// In order of tier, then of submission.
    pending: Vec<Request>,
    /// By expected end.
    running: BTreeMap<Key, Running>,
    /// Expected end by owner, to find a running job by.
    ends_ns: Vec<u64>,
}

impl Cluster {
    /// An empty cluster of so many thousandths of cores.
    pub fn new(cores_milli: u64, discipline: Discipline) -> Self {
        Self {
            discipline,
            free_milli: cores_milli,
            vacating_milli: 0,
            pending: Vec::new(),
            running: BTreeMap::new(),
            ends_ns: Vec::new(),
        }
    }

    /// Adds a job behind all others of its tier.
    pub fn submit(&mut self, request: Request) {
        let at = self.pending.partition_point(|other| other.tier >= request.tier);
        self.pending.insert(at, request);
    }

    /// Takes a waiting job out; false if it does not wait.
    pub fn withdraw(&mut self, owner: u32) -> bool {
        let found = self.pending.iter().position(|request| request.owner == owner);
        found.map(|at| self.pending.remove(at)).is_some()
    }

    /// Frees the cores of a running job.
    pub fn release(&mut self, owner: u32) {
        let key = (self.ends_ns.get(owner as usize).copied().unwrap_or(0), owner);
        if let Some(job) = self.running.remove(&key) {
            self.free_milli += job.request.cores_milli;
            if job.vacating {
                self.vacating_milli -= job.request.cores_milli;
            }
        }
    }

    /// How many jobs wait.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// One pass: starts what may start, and asks lower tiers to make room for what may not.
    pub fn schedule(&mut self, now_ns: u64) -> Pass {
        let mut pass = Pass::default();
        let mut first = 0;
        while let Some(&head) = self.pending.get(first)
            && head.cores_milli <= self.free_milli
        {
            self.start(head, now_ns, &mut pass);
            first += 1;
        }
        self.pending.drain(..first);
        if self.pending.is_empty() {
            return pass;
        }
        self.preempt(now_ns, &mut pass);
        if self.discipline == Discipline::EasyBackfill && self.free_milli > 0 {
            self.backfill(now_ns, &mut pass);
        }
        pass
    }

    fn start(&mut self, request: Request, now_ns: u64, pass: &mut Pass) {
        let owner = request.owner as usize;
        let end_ns = now_ns.saturating_add(request.limit_ns);
        if owner >= self.ends_ns.len() {
            self.ends_ns.resize(owner + 1, 0);
        }
        self.ends_ns[owner] = end_ns;
        self.free_milli -= request.cores_milli;
        let job = Running { request, started_ns: now_ns, vacating: false };
        self.running.insert((end_ns, request.owner), job);
        pass.started.push(request.owner);
    }

    /// When the first waiting job can start at the latest, and how many thousandths of cores it leaves then.
    fn shadow(&self, now_ns: u64, head: &Request) -> (u64, u64) {
        let mut free_milli = self.free_milli;
        let mut shadow_ns = None;
        for (&(end_ns, _), job) in &self.running {
            // All that end at that very time leave their cores too.
            if let Some(shadow_ns) = shadow_ns.filter(|&shadow_ns| end_ns.max(now_ns) > shadow_ns) {
                return (shadow_ns, free_milli - head.cores_milli);
            }
            free_milli += job.request.cores_milli;
            if free_milli >= head.cores_milli {
                shadow_ns = shadow_ns.or(Some(end_ns.max(now_ns)));
            }
        }
        if let Some(shadow_ns) = shadow_ns {
            return (shadow_ns, free_milli - head.cores_milli);
        }
        // It is larger than the cluster: it never starts, and holds up nothing.
        (u64::MAX, free_milli)
    }

    fn backfill(&mut self, now_ns: u64, pass: &mut Pass) {
        let (shadow_ns, mut spare_milli) = self.shadow(now_ns, &self.pending[0]);
        let started_before = pass.started.len();
        let candidates = std::mem::take(&mut self.pending);
        let mut kept = Vec::with_capacity(candidates.len());
        for (index, request) in candidates.into_iter().enumerate() {
            let fits = index > 0 && request.cores_milli <= self.free_milli;
            let ends_in_time = now_ns.saturating_add(request.limit_ns) <= shadow_ns;
            if fits && ends_in_time {
                self.start(request, now_ns, pass);
            } else if fits && request.cores_milli <= spare_milli {
                spare_milli -= request.cores_milli;
                self.start(request, now_ns, pass);
            } else {
                kept.push(request);
            }
        }
        self.pending = kept;
        debug_assert!(pass.started.len() >= started_before);
    }

    /// Asks running jobs of lower tiers to vacate, the lowest tier and the youngest first, until all that
    /// wait above them would fit; nothing if they cannot make enough room for a job.
    fn preempt(&mut self, now_ns: u64, pass: &mut Pass) {
        let head_tier = self.pending[0].tier;
        let may_go =
            |job: &Running, tier| !job.vacating && job.request.grace_ns.is_some() && job.request.tier < tier;
        let mut victims: Vec<(u32, u64, Key)> = (self.running.iter())
            .filter(|(_, job)| may_go(job, head_tier))
            .map(|(&key, job)| (job.request.tier, u64::MAX - job.started_ns, key))
            .collect();
        if victims.is_empty() {
            return;
        }
        victims.sort_unstable();
        let mut victims = victims.into_iter().peekable();
        let mut demand_milli = 0;
        for waiting in self.pending.clone() {
            demand_milli += waiting.cores_milli;
            let mut room_milli = self.free_milli + self.vacating_milli;
            let mut chosen = Vec::new();
            while room_milli < demand_milli
                && let Some((_, _, key)) = victims.next_if(|&(tier, _, _)| tier < waiting.tier)
            {
                room_milli += self.running[&key].request.cores_milli;
                chosen.push(key);
            }
            if room_milli < demand_milli {
                break;
            }
            for key in chosen {
                self.evict(key, now_ns, pass);
            }
        }
    }

    fn evict(&mut self, key: Key, now_ns: u64, pass: &mut Pass) {
        let Some(mut job) = self.running.remove(&key) else { return };
        let deadline_ns = now_ns.saturating_add(job.request.grace_ns.unwrap_or(0));
        job.vacating = true;
        self.vacating_milli += job.request.cores_milli;
        self.ends_ns[key.1 as usize] = deadline_ns;
        self.running.insert((deadline_ns, key.1), job);
        pass.preempted.push((key.1, deadline_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(owner: u32, cores: u64, limit_ns: u64) -> Request {
        Request { owner, cores_milli: cores * 1000, limit_ns, tier: 0, grace_ns: None }
    }

    #[test]
    fn a_higher_tier_waits_for_the_youngest_of_the_lowest_to_go() {
        let mut cluster = Cluster::new(4000, Discipline::EasyBackfill);
        cluster.submit(Request { grace_ns: Some(30), ..job(1, 2, 1000) });
        assert_eq!(cluster.schedule(0).started, [1]);
        cluster.submit(Request { grace_ns: Some(30), ..job(2, 2, 1000) });
        assert_eq!(cluster.schedule(5).started, [2]);
        cluster.submit(Request { tier: 1, ..job(3, 2, 1000) });
        let pass = cluster.schedule(10);
        assert!(pass.started.is_empty());
        assert_eq!(pass.preempted, [(2, 40)]);
        // asked once, not again
        assert!(cluster.schedule(11).preempted.is_empty());
        cluster.release(2);
        assert_eq!(cluster.schedule(20).started, [3]);
    }

    #[test]
    fn nobody_is_evicted_in_vain() {
        let mut cluster = Cluster::new(4000, Discipline::Fifo);
        cluster.submit(Request { grace_ns: Some(30), ..job(1, 2, 1000) });
        cluster.submit(job(2, 2, 1000));
        cluster.schedule(0);
        cluster.submit(Request { tier: 1, ..job(3, 4, 1000) });
        assert!(cluster.schedule(1).preempted.is_empty());
    }

    #[test]
    fn backfill_may_use_what_the_first_leaves_but_never_delays_it() {
        let mut cluster = Cluster::new(10_000, Discipline::EasyBackfill);
        cluster.submit(job(1, 6, 100));
        cluster.schedule(0);
        cluster.submit(job(2, 8, 50)); // waits until 100, leaves 2
        cluster.submit(job(3, 3, 101)); // would end at 101 and needs 3 > 2: must wait
        cluster.submit(job(4, 2, 1000)); // long, but within what is left
        cluster.submit(job(5, 2, 100)); // ends in time
        assert_eq!(cluster.schedule(0).started, [4, 5]);
        assert_eq!(cluster.pending(), 2);
        cluster.release(1);
        assert_eq!(cluster.schedule(90).started, [] as [u32; 0]);
        cluster.release(5);
        assert_eq!(cluster.schedule(100).started, [2]);
    }

    #[test]
    fn what_is_left_beside_the_first_counts_all_that_end_with_its_start() {
        let mut cluster = Cluster::new(10_000, Discipline::EasyBackfill);
        cluster.submit(job(1, 4, 100));
        cluster.submit(job(2, 4, 100));
        cluster.schedule(0);
        cluster.submit(job(3, 6, 50)); // at 100, when both have ended: 4 are left
        cluster.submit(job(4, 2, 1000));
        assert_eq!(cluster.schedule(0).started, [4]);
    }

    #[test]
    fn first_in_first_out_lets_nothing_overtake() {
        let mut cluster = Cluster::new(2000, Discipline::Fifo);
        cluster.submit(job(1, 1, 10));
        cluster.submit(job(2, 2, 10));
        cluster.submit(job(3, 1, 10));
        assert_eq!(cluster.schedule(0).started, [1]);
    }
}
