//! How sessions get machines and lose them: markets and their preemptions, the cluster and its queue.

use super::cluster::Request;
use super::live::{Machine, NEVER, Phase};
use super::spec::SlurmSpec;
use super::world::{Batch, GENERATION_MASK, Kind, World, pack};
use stasis_contract::{Trigger, format_seconds};
use stasis_policy::placement::{Market, MarketFacts, MarketPolicy, Observed, Size};
use stasis_workloads::streams::{Purpose, stream};
use stasis_workloads::{Job, seconds_to_ns};

const LIFETIME: Purpose = Purpose::named("sim/lifetime");

impl World<'_> {
    /// Asks for a machine.
    pub fn request(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let size = self.choose_size(slot);
        let live = self.life(slot);
        live.size = size;
        live.asked_at_ns = now_ns;
        if live.phase != Phase::Waiting {
            self.enter(slot, Phase::Waiting, NEVER);
        }
        if let Some(slurm) = &self.setup.slurm {
            self.submit(slot, slurm);
        } else {
            self.request_again(slot);
        }
        self.arm(slot);
    }

    /// Asks the market policy where to run, and waits if it says so.
    pub fn request_again(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let spot_available = self.spot.as_ref().is_some_and(super::spot::SpotPool::has_room);
        let changeover_s = self.setup.cost.requeue_s + self.boot_ns as f64 / 1e9;
        let live = self.life(slot);
        let waiting_s = (now_ns - live.asked_at_ns) as f64 / 1e9;
        let facts = MarketFacts {
            on: None,
            spot_available,
            waiting_s,
            elapsed_s: (now_ns - live.plan.submit_ns) as f64 / 1e9,
            work: None,
            changeover_s,
            tick_s: 0.0,
        };
        let market = self.setup.policy.placement.market;
        match market.choose(&facts) {
            Some(Market::Spot) if spot_available => self.rent(slot, Market::Spot),
            Some(_) => self.rent(slot, Market::OnDemand),
            None => {
                if let MarketPolicy::SpotFirst(policy) = market {
                    let patience_ns = seconds_to_ns((policy.wait_s - waiting_s).max(1e-6));
                    self.life(slot).timer_at_ns = now_ns.saturating_add(patience_ns);
                }
                if let Some(spot) = self.spot.as_mut().filter(|spot| !spot.waiting.contains(&slot)) {
                    spot.waiting.push_back(slot);
                }
            }
        }
    }

    fn choose_size(&mut self, slot: u32) -> Size {
        let share = self.setup.people.cores_used_share;
        let policy = self.setup.policy.placement.size;
        let now_ns = self.now_ns;
        let live = self.life(slot);
        let request = live.plan.request;
        let requested = Size { cores_milli: request.cores_milli, memory_bytes: request.memory_bytes };
        if live.was_started {
            live.observed_bytes = live.observed_bytes.max(live.resident_bytes(now_ns));
        }
        let observed = (live.observed_bytes > 0).then_some(Observed {
            cores_milli: (f64::from(request.cores_milli) * share).ceil() as u32,
            memory_bytes: live.observed_bytes,
        });
        policy.choose(requested, observed)
    }

    fn rent(&mut self, slot: u32, market: Market) {
        let Some(cloud) = &self.setup.cloud else { return };
        let now_ns = self.now_ns;
        let (seed, replication) = (self.setup.seed, self.setup.replication);
        let size = self.life(slot).size;
        let mut rate_per_h = cloud.price_per_h(size);
        if market == Market::Spot
            && let (Some(spec), Some(pool)) = (&cloud.spot, &mut self.spot)
        {
            rate_per_h *= spec.price_ratio;
            pool.take(slot);
            pool.waiting.retain(|&other| other != slot);
            let live = self.life(slot);
            live.grants += 1;
            let entity = live.plan.id ^ (u64::from(live.grants) << 40);
            if let Some(law) = spec.lifetime {
                let life_ns = law.sample_ns(&mut stream(seed, replication, entity, LIFETIME));
                let end_ns = now_ns.saturating_add(life_ns);
                self.ends_at(slot, end_ns, seconds_to_ns(spec.notice_s));
            }
        } else if let Some(pool) = &mut self.spot {
            pool.waiting.retain(|&other| other != slot);
        }
        let memory_bytes = cloud.memory_bytes(size);
        self.granted(slot, Machine { market, rate_per_h, since_ns: now_ns, memory_bytes });
    }

    fn granted(&mut self, slot: u32, machine: Machine) {
        let (now_ns, boot_ns) = (self.now_ns, self.boot_ns);
        let live = self.life(slot);
        let asked_at_ns = live.asked_at_ns;
        let waited_s = (now_ns - asked_at_ns + boot_ns) as f64 / 1e9;
        self.expected_wait_s += 0.02 * (waited_s - self.expected_wait_s);
        self.enter(slot, Phase::Booting, now_ns.saturating_add(boot_ns));
        self.life(slot).machine = Some(machine);
        self.say(slot, |_| {
            format!("gets a machine ({:?}, {:.4} per hour)", machine.market, machine.rate_per_h)
        });
        self.arm(slot);
    }

    /// The machine will be taken at `end_ns`, and that is announced `notice_ns` before.
    fn ends_at(&mut self, slot: u32, end_ns: u64, notice_ns: u64) {
        let now_ns = self.now_ns;
        let generation = self.life(slot).machine_gen;
        if end_ns == NEVER {
            return;
        }
        // The end itself is pushed when it is announced: one pending event less for every machine.
        if notice_ns > 0 {
            let at_ns = end_ns.saturating_sub(notice_ns).max(now_ns);
            self.life(slot).machine_ends_ns = end_ns;
            self.queue.push(at_ns, pack(Kind::Notice, generation, slot));
        } else {
            self.queue.push(end_ns, pack(Kind::Reclaim, generation, slot));
        }
    }

    /// The boot is over.
    pub fn machine_is_up(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let (phase, seconds) = match self.life(slot).image {
            Some(_) => (Phase::RestoringFixed, self.setup.cost.restore_fixed_s),
            None => (Phase::Starting, self.setup.people.cold_start_s),
        };
        self.enter(slot, phase, now_ns.saturating_add(seconds_to_ns(seconds)));
    }

    /// The end of the machine is announced.
    pub fn notice(&mut self, slot: u32) {
        let live = self.life(slot);
        let (end_ns, generation) = (live.machine_ends_ns, live.machine_gen);
        self.queue.push(end_ns, pack(Kind::Reclaim, generation, slot));
        let trigger = if self.cluster.is_some() { Trigger::TimeLimit } else { Trigger::Preemption };
        self.announce(slot, end_ns, trigger);
    }

    fn announce(&mut self, slot: u32, end_ns: u64, trigger: Trigger) {
        if self.life(slot).notice.is_some_and(|(sooner_ns, _)| sooner_ns <= end_ns) {
            return;
        }
        self.life(slot).notice = Some((end_ns, trigger));
        let left_s = (end_ns - self.now_ns) as f64 / 1e9;
        self.say(slot, |_| format!("notice ({trigger:?}): {} left", format_seconds(left_s)));
        self.decide(slot);
        self.arm(slot);
    }

    /// The machine is gone.
    pub fn reclaim(&mut self, slot: u32) {
        self.metrics.preemptions += 1;
        let live = self.life(slot);
        let phase = live.phase;
        let announced = live.notice.is_some();
        self.bank(slot);
        self.stop_flow(slot);
        self.release(slot);
        match phase {
            Phase::DumpingFixed(_) | Phase::Writing(_) => {
                self.metrics.notice_dumps_late += u64::from(announced);
                self.say(slot, |_| "the machine is gone before the dump ends".into());
                self.loses(slot);
            }
            Phase::Computing | Phase::Idle => self.loses(slot),
            _ => {
                let has_image = self.life(slot).image.is_some();
                self.enter(slot, if has_image { Phase::Suspended } else { Phase::Off }, NEVER);
            }
        }
        self.life(slot).notice = None;
        self.replan(slot);
        self.maybe_requeue(slot);
        self.arm(slot);
    }

    /// Gives the session's machine back, if it has one.
    pub fn release(&mut self, slot: u32) {
        let live = self.life(slot);
        let Some(machine) = live.machine.take() else { return };
        live.notice = None;
        live.machine_gen = live.machine_gen.wrapping_add(1) & GENERATION_MASK;
        if let Some(cluster) = &mut self.cluster {
            cluster.release(slot * 2);
            self.cluster_dirty = true;
        }
        if machine.market == Market::Spot {
            if let Some(spot) = &mut self.spot {
                spot.give_back(slot);
            }
            self.offer_spot();
        }
    }

    /// Takes the session out of all queues.
    pub fn withdraw(&mut self, slot: u32) {
        if self.life(slot).phase != Phase::Waiting {
            return;
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.withdraw(slot * 2);
        }
        if let Some(spot) = &mut self.spot {
            spot.waiting.retain(|&other| other != slot);
        }
    }

    /// There are more or fewer spot machines from now on.
    pub fn spot_changes(&mut self) {
        self.metrics.events += 1;
        let now_ns = self.now_ns;
        let Some(pool) = &mut self.spot else { return };
        let next_ns = pool.step(now_ns);
        let victims = if pool.excess() > 0 { pool.draw_victims(pool.excess()) } else { Vec::new() };
        if let Some(at_ns) = next_ns {
            self.queue.push(at_ns, pack(Kind::Spot, 0, 0));
        }
        let notice_s = self.setup.cloud.as_ref().and_then(|c| c.spot.as_ref()).map_or(0.0, |s| s.notice_s);
        for slot in victims {
            if self.life(slot).notice.is_some() {
                continue;
            }
            let end_ns = now_ns.saturating_add(seconds_to_ns(notice_s));
            let generation = self.life(slot).machine_gen;
            self.queue.push(end_ns, pack(Kind::Reclaim, generation, slot));
            if notice_s > 0.0 {
                self.announce(slot, end_ns, Trigger::Preemption);
            }
        }
        self.offer_spot();
    }

    /// Gives free spot machines to those who wait, in order.
    fn offer_spot(&mut self) {
        while let Some(pool) = self.spot.as_mut().filter(|pool| pool.has_room()) {
            let Some(slot) = pool.waiting.pop_front() else { break };
            self.life(slot).timer_at_ns = NEVER;
            self.rent(slot, Market::Spot);
        }
    }

    fn submit(&mut self, slot: u32, slurm: &SlurmSpec) {
        let Some(partition) = slurm.partition(&slurm.session_partition) else { return };
        let cores_milli = u64::from(self.life(slot).size.cores_milli).min(u64::from(slurm.cores) * 1000);
        if let Some(cluster) = &mut self.cluster {
            cluster.submit(Request {
                owner: slot * 2,
                cores_milli,
                limit_ns: seconds_to_ns(partition.time_limit_s),
                tier: partition.tier,
                grace_ns: partition.grace_s.map(seconds_to_ns),
            });
            self.cluster_dirty = true;
        }
    }

    /// A batch job is submitted.
    pub fn submit_batch(&mut self, job: Job) {
        self.metrics.events += 1;
        let Some(slurm) = &self.setup.slurm else { return };
        if job.processors > slurm.cores {
            return;
        }
        let index = self.free_batch.pop().unwrap_or_else(|| {
            self.batch.push(Batch { job, started_ns: 0, generation: 0 });
            self.batch.len() as u32 - 1
        });
        self.batch[index as usize].job = job;
        self.queue_batch(index);
    }

    fn queue_batch(&mut self, index: u32) {
        let Some(slurm) = &self.setup.slurm else { return };
        let Some(partition) = slurm.batch.as_ref().and_then(|batch| slurm.partition(&batch.partition)) else {
            return;
        };
        let job = self.batch[index as usize].job;
        if let Some(cluster) = &mut self.cluster {
            cluster.submit(Request {
                owner: index * 2 + 1,
                cores_milli: u64::from(job.processors) * 1000,
                limit_ns: job.requested_ns.max(1),
                tier: partition.tier,
                grace_ns: partition.grace_s.map(seconds_to_ns),
            });
            self.cluster_dirty = true;
        }
    }

    /// Lets the scheduler run, and hands out what it decided.
    pub fn schedule_cluster(&mut self) {
        self.cluster_dirty = false;
        let now_ns = self.now_ns;
        let Some(cluster) = &mut self.cluster else { return };
        let pass = cluster.schedule(now_ns);
        for owner in pass.started {
            if owner % 2 == 0 { self.session_starts(owner / 2) } else { self.batch_starts(owner / 2) }
        }
        for (owner, end_ns) in pass.preempted {
            if owner % 2 == 0 {
                let generation = self.life(owner / 2).machine_gen;
                self.queue.push(end_ns, pack(Kind::Reclaim, generation, owner / 2));
                self.announce(owner / 2, end_ns, Trigger::Preemption);
            } else {
                let generation = self.batch[(owner / 2) as usize].generation;
                self.queue.push(end_ns, pack(Kind::BatchEvict, generation, owner / 2));
            }
        }
    }

    fn session_starts(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let Some(slurm) = &self.setup.slurm else { return };
        let limit_s = slurm.partition(&slurm.session_partition).map_or(f64::INFINITY, |p| p.time_limit_s);
        let size = self.life(slot).size;
        let rate_per_h = slurm.price_per_core_h * f64::from(size.cores_milli) / 1000.0;
        self.ends_at(slot, now_ns.saturating_add(seconds_to_ns(limit_s)), grace_ns(slurm));
        self.granted(
            slot,
            Machine {
                market: Market::OnDemand,
                rate_per_h,
                since_ns: now_ns,
                memory_bytes: size.memory_bytes,
            },
        );
    }

    fn batch_starts(&mut self, index: u32) {
        let now_ns = self.now_ns;
        let batch = &mut self.batch[index as usize];
        batch.started_ns = now_ns;
        batch.generation = batch.generation.wrapping_add(1) & GENERATION_MASK;
        self.metrics.batch_wait.add(now_ns.saturating_sub(batch.job.submit_ns));
        let run_ns = batch.job.run_ns.min(batch.job.requested_ns.max(1));
        self.queue.push(now_ns.saturating_add(run_ns), pack(Kind::BatchEnd, batch.generation, index));
    }

    /// A batch job ends.
    pub fn batch_ends(&mut self, index: u32, generation: u32) {
        let batch = &mut self.batch[index as usize];
        if batch.generation != generation {
            return;
        }
        batch.generation = batch.generation.wrapping_add(1) & GENERATION_MASK;
        self.metrics.events += 1;
        self.metrics.batch_jobs += 1;
        self.release_batch(index);
        self.free_batch.push(index);
    }

    /// A batch job's grace is over: it starts again from the beginning, at the end of its queue.
    pub fn batch_is_evicted(&mut self, index: u32, generation: u32) {
        let now_ns = self.now_ns;
        let batch = &mut self.batch[index as usize];
        if batch.generation != generation {
            return;
        }
        batch.generation = batch.generation.wrapping_add(1) & GENERATION_MASK;
        self.metrics.events += 1;
        let core_ns = u128::from(now_ns - batch.started_ns) * u128::from(batch.job.processors);
        self.metrics.batch_lost_core_ns += core_ns;
        self.release_batch(index);
        self.queue_batch(index);
    }

    fn release_batch(&mut self, index: u32) {
        if let Some(cluster) = &mut self.cluster {
            cluster.release(index * 2 + 1);
            self.cluster_dirty = true;
        }
    }
}

fn grace_ns(slurm: &SlurmSpec) -> u64 {
    let partition = slurm.partition(&slurm.session_partition);
    partition.and_then(|partition| partition.grace_s).map_or(0, seconds_to_ns)
}
