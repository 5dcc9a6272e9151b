//! How a session moves: its user's plan, its cells, its dumps and restores, its losses. Where it gets its
//! machine from is `place`'s business, and what to do is the policy's.

use super::live::{Dump, Live, NEVER, Phase, Wait};
use super::world::World;
use crate::engine::store::Direction;
use stasis_contract::{Trigger, format_bytes, format_seconds};
use stasis_policy::{Decision, Facts, Notice};
use stasis_workloads::streams::{Purpose, stream};
use stasis_workloads::{Session, seconds_to_ns};

/// A session that loses its memory this often without finishing a cell is given up: its work is longer than
/// machines live, and nothing saves it.
const LOSSES_MAX: u32 = 1000;

const IDLE: Purpose = Purpose::named("sim/idle");

impl World<'_> {
    /// A user asks for a session.
    pub fn arrive(&mut self, plan: Session) {
        self.metrics.events += 1;
        self.metrics.occupancy.change(self.now_ns, None, Some(Phase::Waiting.state()));
        let mut live = Live::new(plan);
        live.since_ns = self.now_ns;
        if self.predicts || self.looks_at_size() {
            let user = live.plan.user as usize;
            if user >= self.users.len() {
                self.users.resize(user + 1, super::world::User::default());
            }
            live.observed_bytes = self.users[user].peak_bytes;
            live.noted_bytes = live.observed_bytes;
        }
        let slot = self.settle(live);
        self.say(slot, |live| {
            format!("user {} asks for {}", live.plan.user, format_bytes(live.plan.request.memory_bytes))
        });
        self.request(slot);
    }

    /// Finds a slot for a session.
    fn settle(&mut self, mut live: Live) -> u32 {
        if let Some(slot) = self.free_slots.pop() {
            let last = self.life(slot);
            (live.wake_gen, live.machine_gen) = (last.wake_gen, last.machine_gen);
            *last = live;
            slot
        } else {
            self.lives.push(live);
            self.lives.len() as u32 - 1
        }
    }

    /// Something of the session's own is due. True if it ended.
    pub fn wake(&mut self, slot: u32) -> bool {
        let now_ns = self.now_ns;
        let live = self.life(slot);
        live.wake_at_ns = NEVER;
        if live.phase_at_ns <= now_ns {
            live.phase_at_ns = NEVER;
            self.phase_ends(slot);
        } else if live.plan_at_ns <= now_ns {
            if self.plan_goes_on(slot) {
                return true;
            }
        } else if live.timer_at_ns <= now_ns {
            live.timer_at_ns = NEVER;
            match live.phase {
                Phase::Waiting => self.request_again(slot),
                _ => self.decide(slot),
            }
        }
        self.arm(slot);
        false
    }

    fn phase_ends(&mut self, slot: u32) {
        match self.life(slot).phase {
            Phase::Computing => self.cell_ends(slot),
            Phase::Requeued => self.request(slot),
            Phase::Booting => self.machine_is_up(slot),
            Phase::Starting => self.runs(slot),
            Phase::RestoringFixed => self.flow_starts(slot, Direction::Read),
            Phase::DumpingFixed(_) => self.flow_starts(slot, Direction::Write),
            _ => {}
        }
    }

    /// Works out when the plan goes on.
    pub fn replan(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        self.life(slot).set_plan(now_ns);
    }

    /// The user does what the plan says next. True if that was to end the session.
    fn plan_goes_on(&mut self, slot: u32) -> bool {
        let now_ns = self.now_ns;
        let live = self.life(slot);
        let due_ns = live.next_in_plan_ns();
        if due_ns == live.next_edge_ns() {
            self.browser_edge(slot);
        } else if live.computing || !live.has_cell() {
            self.ends(slot);
            return true;
        } else {
            let idle_s = (now_ns - live.kernel_idle_since_ns) as f64 / 1e9;
            live.computing = true;
            if self.predicts {
                let user = self.life(slot).plan.user as usize;
                if let Some(user) = self.users.get_mut(user) {
                    user.idle.record(idle_s);
                }
            }
            match self.life(slot).phase {
                Phase::Idle => self.compute(slot),
                _ => self.user_needs_it(slot),
            }
        }
        let live = self.life(slot);
        live.set_plan(now_ns);
        false
    }

    fn browser_edge(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let live = self.life(slot);
        live.pass_edge();
        let (connected, phase) = (live.connected, live.phase);
        if !connected {
            live.away_since_ns = now_ns;
        }
        if phase.runs() {
            self.decide(slot);
        } else if connected && (matches!(phase, Phase::Suspended | Phase::Off) || phase_is_idle_dump(phase)) {
            self.user_needs_it(slot);
        }
    }

    /// The user wants to use a session that does not run.
    fn user_needs_it(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let live = self.life(slot);
        let phase = live.phase;
        live.wanted.get_or_insert((now_ns, Wait::Resume));
        live.plan_at_ns = NEVER;
        if matches!(phase, Phase::Suspended | Phase::Off) {
            self.say(slot, |_| "user comes back".into());
            self.request(slot);
        } else if phase_is_idle_dump(phase) {
            self.say(slot, |_| "user comes back during the dump, which is given up".into());
            self.stop_flow(slot);
            self.runs(slot);
        }
    }

    /// The session is up (again): whoever waited goes on.
    pub fn runs(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        self.bank(slot);
        let live = self.life(slot);
        let waited = live.wanted.take().map(|(since_ns, wait)| (now_ns - since_ns, wait));
        live.was_started = true;
        if let Some((waited_ns, wait)) = waited {
            live.shift_ns = live.shift_ns.saturating_add(waited_ns);
            match wait {
                Wait::Start => self.metrics.start_wait.add(waited_ns),
                Wait::Resume => self.metrics.resume_wait.add(waited_ns),
                Wait::Interruption => self.metrics.interruption.add(waited_ns),
            }
            self.say(slot, |_| format!("runs; the user waited {}", format_seconds(waited_ns as f64 / 1e9)));
        }
        let live = self.life(slot);
        if live.computing {
            self.compute(slot);
        } else {
            if self.life(slot).phase != Phase::Idle {
                self.enter(slot, Phase::Idle, NEVER);
            }
            self.decide(slot);
        }
        self.life(slot).set_plan(now_ns);
    }

    fn compute(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        self.bank(slot);
        let live = self.life(slot);
        let left_ns = live.redo_ns + live.cell_length_ns().saturating_sub(live.cell_done_ns);
        self.enter(slot, Phase::Computing, now_ns.saturating_add(left_ns));
        self.say(slot, |live| {
            format!("computes cell {} for {}", live.cell + 1, format_seconds(left_ns as f64 / 1e9))
        });
        self.decide(slot);
    }

    fn cell_ends(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        self.enter(slot, Phase::Idle, NEVER);
        self.metrics.cells += 1;
        let (seed, replication) = (self.setup.seed, self.setup.replication);
        let randomised = self.setup.policy.idle.is_randomised();
        let live = self.life(slot);
        live.end_cell(now_ns);
        if randomised {
            let entity = live.plan.id ^ (u64::from(live.idle_periods) << 40);
            live.idle_uniform = stream(seed, replication, entity, IDLE).uniform();
        }
        live.set_plan(now_ns);
        if self.looks_at_size() {
            self.observe_memory(slot);
            if self.outgrown(slot) {
                return;
            }
        }
        self.decide(slot);
    }

    /// Moves a session whose memory has outgrown its machine. True if it had to.
    fn outgrown(&mut self, slot: u32) -> bool {
        let now_ns = self.now_ns;
        let live = self.life(slot);
        let resident_bytes = live.resident_bytes(now_ns);
        let tight = live.machine.is_some_and(|machine| machine.memory_bytes < resident_bytes);
        if tight && live.size.memory_bytes < live.plan.request.memory_bytes {
            self.metrics.resizes += 1;
            self.say(slot, |_| "memory has outgrown the machine".into());
            self.dump(slot, Dump::Suspend(Trigger::Request));
            return true;
        }
        false
    }

    /// Asks the policy, and does what it says.
    pub fn decide(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        if !self.life(slot).phase.runs() {
            return;
        }
        self.bank(slot);
        let facts = self.facts(slot);
        match self.setup.policy.decide(&facts) {
            Decision::Continue { look_again_in_s } => {
                let at_ns = look_again_in_s
                    .map_or(NEVER, |s| now_ns.saturating_add(((s * 1e9).ceil() as u64).max(1)));
                self.life(slot).timer_at_ns = at_ns;
            }
            Decision::Checkpoint { .. } => self.dump(slot, Dump::Checkpoint),
            Decision::Suspend { trigger } => {
                if trigger == Trigger::Idle {
                    self.metrics.suspends += 1;
                } else {
                    self.metrics.notice_dumps += 1;
                }
                self.dump(slot, Dump::Suspend(trigger));
            }
            Decision::Kill => self.kill(slot),
        }
    }

    fn facts(&mut self, slot: u32) -> Facts {
        let now_ns = self.now_ns;
        let live = &mut self.lives[slot as usize];
        let since_s = |then_ns: u64| now_ns.saturating_sub(then_ns) as f64 / 1e9;
        let resident_bytes = live.resident_bytes(now_ns);
        let kernel_idle_s = if live.computing { 0.0 } else { since_s(live.kernel_idle_since_ns) };
        let user = if self.predicts { self.users.get(live.plan.user as usize) } else { None };
        let predicted_idle_s = user.and_then(|user| user.idle.predict_s());
        Facts {
            age_s: live.machine.map_or(0.0, |machine| since_s(machine.since_ns)),
            unsaved_s: live.unsaved_ns as f64 / 1e9,
            work_left_s: None,
            notice: live.notice.map(|(at_ns, trigger)| Notice {
                left_s: at_ns.saturating_sub(now_ns) as f64 / 1e9,
                trigger,
            }),
            resident_bytes,
            cost: self.setup.cost,
            busy: live.computing,
            kernel_idle_s,
            browser_away_s: match (live.browser_known, live.connected) {
                (true, true) => 0.0,
                (true, false) => since_s(live.away_since_ns),
                (false, _) => kernel_idle_s,
            },
            expected_wait_s: self.expected_wait_s,
            predicted_idle_s,
            idle_uniform: live.idle_uniform,
        }
    }

    fn dump(&mut self, slot: u32, dump: Dump) {
        let until_ns = self.now_ns.saturating_add(seconds_to_ns(self.setup.cost.dump_fixed_s));
        self.enter(slot, Phase::DumpingFixed(dump), until_ns);
        self.say(slot, |_| format!("dump begins ({dump:?})"));
        self.replan(slot);
    }

    /// The fixed part is over, and bytes begin to move.
    fn flow_starts(&mut self, slot: u32, direction: Direction) {
        let now_ns = self.now_ns;
        let cost = self.setup.cost;
        let live = self.life(slot);
        let (phase, bytes) = if let Phase::DumpingFixed(dump) = live.phase {
            live.writing_bytes = cost.image_bytes(live.resident_bytes(now_ns));
            (Phase::Writing(dump), live.writing_bytes)
        } else {
            (Phase::Reading, live.image.map_or(0, |image| image.bytes))
        };
        match direction {
            Direction::Write => self.metrics.written_bytes += u128::from(bytes),
            Direction::Read => self.metrics.read_bytes += u128::from(bytes),
        }
        self.enter(slot, phase, NEVER);
        let flow = self.store.start(now_ns, direction, bytes, slot);
        self.life(slot).flow = Some(flow);
        self.schedule_store();
    }

    /// All bytes of the session's flow have moved.
    pub fn flow_done(&mut self, slot: u32) {
        let live = self.life(slot);
        live.flow = None;
        match live.phase {
            Phase::Writing(dump) => self.dump_ends(slot, dump),
            _ => self.runs(slot),
        }
        self.arm(slot);
    }

    fn dump_ends(&mut self, slot: u32, dump: Dump) {
        let now_ns = self.now_ns;
        let started_ns = self.life(slot).since_ns;
        self.bank(slot);
        let live = self.life(slot);
        let bytes = live.writing_bytes;
        let replaced_bytes = live.image.map_or(0, |image| image.bytes);
        live.take_image(bytes);
        let notice = live.notice;
        self.hold(bytes, replaced_bytes);
        self.say(slot, |_| format!("image committed, {}", format_bytes(bytes)));
        match (dump, notice) {
            (Dump::Checkpoint, None) => {
                self.metrics.checkpoints += 1;
                if self.life(slot).computing {
                    let fixed_ns = seconds_to_ns(self.setup.cost.dump_fixed_s);
                    self.metrics.pause.add(now_ns - started_ns + fixed_ns);
                }
                self.runs(slot);
            }
            // The end was announced during the dump, and nothing is left to save.
            (Dump::Checkpoint, Some((_, trigger))) | (Dump::Suspend(trigger), _) => {
                self.suspended(slot, trigger);
            }
        }
    }

    /// The image is complete, the machine is given back.
    fn suspended(&mut self, slot: u32, trigger: Trigger) {
        self.release(slot);
        self.enter(slot, Phase::Suspended, NEVER);
        self.replan(slot);
        if trigger != Trigger::Idle {
            self.maybe_requeue(slot);
        }
    }

    /// After losing its machine a session goes back to the queue by itself, unless nobody needs it now and
    /// the policy would not keep it anyway.
    pub fn maybe_requeue(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        if self.life(slot).losses >= LOSSES_MAX {
            self.say(slot, |_| "given up: it never gets to the end of a cell".into());
            let live = self.life(slot);
            live.wanted = None;
            live.computing = true;
            live.pass_all_edges();
            live.shift_ns = live.shift_ns.max(now_ns.saturating_sub(live.plan.end_ns));
            self.replan(slot);
            return;
        }
        let keeps = matches!(self.setup.policy.idle, stasis_policy::Idle::AlwaysOn(_));
        let live = self.life(slot);
        let needed = live.computing || live.wanted.is_some();
        if needed {
            live.wanted.get_or_insert((now_ns, Wait::Interruption));
            live.plan_at_ns = NEVER;
        }
        if needed || keeps || live.connected {
            live.asked_at_ns = now_ns;
            let until_ns = now_ns.saturating_add(seconds_to_ns(self.setup.cost.requeue_s));
            self.enter(slot, Phase::Requeued, until_ns);
        }
    }

    /// The policy ends an idle session.
    fn kill(&mut self, slot: u32) {
        self.say(slot, |_| "killed for idleness".into());
        self.bank(slot);
        self.release(slot);
        self.loses(slot);
        self.replan(slot);
    }

    /// Memory is gone: back to the image, or to nothing.
    pub fn loses(&mut self, slot: u32) {
        let share = self.setup.people.rerun_share;
        let live = self.life(slot);
        let rerun = live.cell - live.image.map_or(0, |image| image.cell);
        let cut_short = live.computing && live.was_started;
        let has_image = live.image.is_some();
        let was_started = live.was_started;
        let lost_ns = live.roll_back(share);
        live.losses += 1;
        self.metrics.lost_ns += u128::from(lost_ns);
        self.metrics.cells_interrupted += u64::from(cut_short);
        if lost_ns > 0 && share > 0.0 {
            self.metrics.cells_rerun += u64::from(rerun);
        }
        if has_image {
            self.metrics.sessions_rolled_back += u64::from(lost_ns > 0);
        } else {
            self.metrics.sessions_killed += u64::from(was_started);
        }
        self.say(slot, |_| format!("memory is lost, and {} of work", format_seconds(lost_ns as f64 / 1e9)));
        self.enter(slot, if has_image { Phase::Suspended } else { Phase::Off }, NEVER);
    }

    /// Stops reading or writing, if the session is at it.
    pub fn stop_flow(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        if let Some(flow) = self.life(slot).flow.take() {
            let left_bytes = self.store.cancel(now_ns, flow) as u128;
            match self.life(slot).phase {
                Phase::Reading => self.metrics.read_bytes -= left_bytes.min(self.metrics.read_bytes),
                _ => self.metrics.written_bytes -= left_bytes.min(self.metrics.written_bytes),
            }
            self.schedule_store();
        }
    }

    /// The user is done.
    fn ends(&mut self, slot: u32) {
        self.bank(slot);
        self.stop_flow(slot);
        self.withdraw(slot);
        self.release(slot);
        self.say(slot, |_| "the user is done".into());
        let live = self.life(slot);
        let plan = live.end();
        let (phase, cell, cell_done_ns) = (live.phase, live.cell as usize, live.cell_done_ns);
        let held_bytes = live.image.map_or(0, |image| image.bytes);
        self.hold(0, held_bytes);
        self.metrics.occupancy.change(self.now_ns, Some(phase.state()), None);
        let reckoning = self.reference().reckon(&plan, cell);
        self.metrics.baseline_money += reckoning.baseline;
        self.metrics.bound_money += reckoning.bound;
        self.metrics.bound_felt += reckoning.bound_felt;
        self.metrics.sessions += 1;
        let left_ns: u64 = plan.busy.iter().skip(cell).map(stasis_workloads::Interval::length_ns).sum();
        self.metrics.unfinished_ns += u128::from(left_ns.saturating_sub(cell_done_ns));
        self.free_slots.push(slot);
    }

    fn observe_memory(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let live = self.life(slot);
        live.observed_bytes = live.observed_bytes.max(live.resident_bytes(now_ns));
        if live.observed_bytes <= live.noted_bytes {
            return;
        }
        live.noted_bytes = live.observed_bytes;
        let (user, peak_bytes) = (live.plan.user as usize, live.observed_bytes);
        if let Some(user) = self.users.get_mut(user) {
            user.peak_bytes = user.peak_bytes.max(peak_bytes);
        }
    }

    /// True if the policy chooses sizes by what was observed.
    pub fn looks_at_size(&self) -> bool {
        !matches!(self.setup.policy.placement.size, stasis_policy::placement::SizePolicy::AsRequested(_))
    }
}

fn phase_is_idle_dump(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::DumpingFixed(Dump::Suspend(Trigger::Idle)) | Phase::Writing(Dump::Suspend(Trigger::Idle))
    )
}
