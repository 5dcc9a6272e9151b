//! One session while it lives in the simulator: where it stands in its user's plan, what it holds, and when
//! it has to be looked at next. It has no behaviour beyond its own arithmetic; `life` moves it.

use super::world::GENERATION_MASK;
use crate::engine::store::Flow;
use prefetch_index::prefetch_index;
use stasis_contract::Trigger;
use stasis_policy::placement::{Market, Size};
use stasis_workloads::{Interval, Session};

/// No time: later than any event.
pub const NEVER: u64 = u64::MAX;

const NO_CELL: Interval = Interval { start_ns: NEVER, end_ns: NEVER };

/// Why a dump is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// The session goes on afterwards.
    Checkpoint,
    /// The machine is given back afterwards.
    Suspend(Trigger),
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was requeued and is not eligible yet.
    Requeued,
    /// It waits for a machine.
    Waiting,
    /// Its machine boots.
    Booting,
    /// It starts from nothing.
    Starting,
    /// The fixed part of a restore.
    RestoringFixed,
    /// Its image is read.
    Reading,
    /// A cell computes.
    Computing,
    /// It runs and nothing computes.
    Idle,
    /// The fixed part of a dump.
    DumpingFixed(Dump),
    /// Its image is written.
    Writing(Dump),
    /// It has an image and no machine.
    Suspended,
    /// It has neither image nor machine.
    Off,
}

impl Phase {
    /// The column of [`STATES`](super::occupancy::STATES).
    pub fn state(self) -> usize {
        match self {
            Self::Computing => 0,
            Self::Idle => 1,
            Self::Booting | Self::Starting | Self::RestoringFixed | Self::Reading => 2,
            Self::DumpingFixed(_) | Self::Writing(_) => 3,
            Self::Suspended | Self::Off => 4,
            Self::Requeued | Self::Waiting => 5,
        }
    }

    /// True if the session is up: it computes or could.
    pub fn runs(self) -> bool {
        matches!(self, Self::Computing | Self::Idle)
    }
}

/// The machine that a session has.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub market: Market,
    pub rate_per_h: f64,
    /// When it was given.
    pub since_ns: u64,
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

/// What an image holds.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    pub bytes: u64,
    /// The cell that was next or running, and how much of it was done.
    pub cell: u32,
    pub cell_done_ns: u64,
    /// Work that was still to be done again.
    pub redo_ns: u64,
}

/// Why somebody waits for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For a new session.
    Start,
    /// For a session that was given back while idle, or killed.
    Resume,
    /// For a session that was taken down while it was needed.
    Interruption,
}

/// A live session, on whole cache lines: what belongs together is on one, and what most events touch first.
#[derive(Debug)]
#[repr(C, align(64))]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one session, not a state machine")]
pub struct Live {
    // When something happens.
    /// When the phase or the last banking began.
    pub since_ns: u64,
    /// When the pending wake event comes.
    pub wake_at_ns: u64,
    /// When the phase ends by itself.
    pub phase_at_ns: u64,
    /// When the user's plan goes on.
    pub plan_at_ns: u64,
    /// When the policy wants to be asked again.
    pub timer_at_ns: u64,
    /// How far reality is behind the plan.
    pub shift_ns: u64,
    /// The pending wake event must carry this.
    pub wake_gen: u32,
    /// The pending machine events must carry this.
    pub machine_gen: u32,
    pub phase: Phase,
    /// A cell is running or should be.
    pub computing: bool,
    pub connected: bool,
    /// Some session data says when a browser is connected.
    pub browser_known: bool,
    pub was_started: bool,

    // Its work.
    /// The next or running cell of the plan; starts never if there is none.
    current: Interval,
    /// Its number.
    pub cell: u32,
    /// Next edge of a connection: twice its index, plus one for its end.
    edge: u32,
    pub cell_done_ns: u64,
    pub redo_ns: u64,
    /// Computing since the last image.
    pub unsaved_ns: u64,
    /// Of completed cells, the work that is not in the image.
    pub unsaved_cells_ns: u64,
    pub kernel_idle_since_ns: u64,

    // What a decision needs beside that.
    pub machine: Option<Machine>,
    /// Memory held, until this time of the plan.
    resident_bytes: u64,
    resident_until_ns: u64,
    pub away_since_ns: u64,
    pub idle_uniform: f64,

    /// When the machine will be gone, and why, once that is announced.
    pub notice: Option<(u64, Trigger)>,
    pub wanted: Option<(u64, Wait)>,
    /// When the plan ends, and when its next edge comes.
    plan_end_ns: u64,
    edge_ns: u64,
    /// The plan's cells, which are here while the session lives.
    busy: Box<[Interval]>,

    // Images, machines and how they come and go.
    pub image: Option<Image>,
    pub flow: Option<Flow>,
    pub asked_at_ns: u64,
    /// When the machine will be gone, if that is known and not announced yet.
    pub machine_ends_ns: u64,
    /// Size of the image that is being written.
    pub writing_bytes: u64,
    pub observed_bytes: u64,
    /// What of that its user is already remembered for.
    pub noted_bytes: u64,
    pub size: Size,
    pub grants: u32,
    pub idle_periods: u32,
    /// How often memory was lost since a cell last ended.
    pub losses: u32,
    /// The plan but for its cells.
    pub plan: Session,
}

/// A larger one would take longer to fetch: add to it with care.
const _: () = assert!(size_of::<Live>() == 8 * 64);

impl Live {
    /// A session that was just submitted.
    pub fn new(mut plan: Session) -> Self {
        let now_ns = plan.submit_ns;
        Self {
            since_ns: now_ns,
            wake_at_ns: NEVER,
            phase_at_ns: NEVER,
            plan_at_ns: NEVER,
            timer_at_ns: NEVER,
            shift_ns: 0,
            wake_gen: 0,
            machine_gen: 0,
            phase: Phase::Waiting,
            computing: false,
            connected: false,
            browser_known: !plan.connected.is_empty(),
            was_started: false,
            current: plan.busy.first().copied().unwrap_or(NO_CELL),
            cell: 0,
            edge: 0,
            cell_done_ns: 0,
            redo_ns: 0,
            unsaved_ns: 0,
            unsaved_cells_ns: 0,
            kernel_idle_since_ns: now_ns,
            machine: None,
            resident_bytes: 0,
            resident_until_ns: 0,
            away_since_ns: now_ns,
            idle_uniform: 0.5,
            notice: None,
            wanted: Some((now_ns, Wait::Start)),
            plan_end_ns: plan.end_ns,
            edge_ns: plan.connected.first().map_or(NEVER, |connection| connection.start_ns),
            busy: std::mem::take(&mut plan.busy),
            image: None,
            flow: None,
            asked_at_ns: now_ns,
            machine_ends_ns: NEVER,
            writing_bytes: 0,
            observed_bytes: 0,
            noted_bytes: 0,
            size: Size { cores_milli: plan.request.cores_milli, memory_bytes: plan.request.memory_bytes },
            grants: 0,
            idle_periods: 0,
            losses: 0,
            plan,
        }
    }

    /// The session has ended: returns its whole plan, and from now on no pending event is about it.
    pub fn end(&mut self) -> Session {
        let next = |generation: u32| generation.wrapping_add(1) & GENERATION_MASK;
        (self.wake_gen, self.machine_gen) = (next(self.wake_gen), next(self.machine_gen));
        Session {
            busy: std::mem::take(&mut self.busy),
            memory: std::mem::take(&mut self.plan.memory),
            connected: std::mem::take(&mut self.plan.connected),
            ..self.plan
        }
    }

    /// Has it brought into the cache, but for what [`prefetch_cell`](Self::prefetch_cell) brings.
    pub fn prefetch(&self) {
        // One field of each line.
        prefetch(&self.since_ns);
        prefetch(&self.current);
        prefetch(&self.machine);
        prefetch(&self.notice);
        prefetch(&self.image);
        prefetch(&self.writing_bytes);
        prefetch(&self.losses);
        prefetch(&self.plan.request);
    }

    /// Has its next cell brought into the cache, when the session itself is there.
    pub fn prefetch_cell(&self) {
        prefetch_index(&self.busy, self.cell as usize + 1);
    }

    /// When the plan's next connection edge, cell or end comes, in nanoseconds of the plan.
    pub fn next_in_plan_ns(&self) -> u64 {
        let edge_ns = self.next_edge_ns();
        if self.computing {
            // A cell that was suspended under a policy that looks at browsers only may never be finished.
            let abandoned = matches!(self.phase, Phase::Suspended | Phase::Off) && edge_ns == NEVER;
            return if abandoned { self.plan_end_ns } else { edge_ns };
        }
        let cell_ns = if self.has_cell() { self.current.start_ns } else { self.plan_end_ns };
        edge_ns.min(cell_ns)
    }

    /// When the browser comes or goes next, in nanoseconds of the plan.
    pub fn next_edge_ns(&self) -> u64 {
        self.edge_ns
    }

    /// The browser comes, or goes.
    pub fn pass_edge(&mut self) {
        self.connected = self.edge.is_multiple_of(2);
        self.set_edge(self.edge + 1);
    }

    /// The browser never comes or goes again.
    pub fn pass_all_edges(&mut self) {
        self.set_edge(u32::MAX);
    }

    fn set_edge(&mut self, edge: u32) {
        let connection = self.plan.connected.get(edge as usize / 2);
        self.edge_ns = match connection {
            None => NEVER,
            Some(connection) if edge.is_multiple_of(2) => connection.start_ns,
            Some(connection) => connection.end_ns,
        };
        self.edge = edge;
    }

    /// Works out `plan_at_ns` again. The plan stands still while its user waits.
    pub fn set_plan(&mut self, now_ns: u64) {
        self.plan_at_ns = match self.next_in_plan_ns() {
            NEVER => NEVER,
            _ if self.wanted.is_some() => NEVER,
            at_ns => at_ns.saturating_add(self.shift_ns).max(now_ns),
        };
    }

    /// True if there is a cell left to compute.
    pub fn has_cell(&self) -> bool {
        self.current.start_ns != NEVER
    }

    /// How long the current cell computes.
    pub fn cell_length_ns(&self) -> u64 {
        self.current.length_ns()
    }

    /// Memory held now, in bytes. Looked up only when the plan passes a step, as every decision asks.
    pub fn resident_bytes(&mut self, now_ns: u64) -> u64 {
        let plan_ns = now_ns.saturating_sub(self.shift_ns);
        if plan_ns >= self.resident_until_ns {
            let memory = &self.plan.memory;
            let after = memory.partition_point(|step| step.at_ns <= plan_ns);
            self.resident_bytes = self.plan.memory_at(plan_ns);
            self.resident_until_ns = memory.get(after).map_or(NEVER, |step| step.at_ns);
        }
        self.resident_bytes
    }

    /// Goes back to the image, or to nothing. Returns how much computing is lost.
    pub fn roll_back(&mut self, rerun_share: f64) -> u64 {
        let rerun_ns = (self.unsaved_cells_ns as f64 * rerun_share) as u64;
        let (image_redo_ns, image_cell_done_ns) = match &self.image {
            Some(image) if image.cell == self.cell => (image.redo_ns, image.cell_done_ns),
            Some(image) => (image.redo_ns, 0),
            None => (0, 0),
        };
        self.redo_ns = image_redo_ns + rerun_ns + self.cell_done_ns.saturating_sub(image_cell_done_ns);
        std::mem::take(&mut self.unsaved_ns)
    }

    /// An image of what the session is now.
    pub fn take_image(&mut self, bytes: u64) {
        self.image =
            Some(Image { bytes, cell: self.cell, cell_done_ns: self.cell_done_ns, redo_ns: self.redo_ns });
        self.unsaved_ns = 0;
        self.unsaved_cells_ns = 0;
    }

    /// The running cell has ended: what of it is not in the image is noted, and the next one is next.
    pub fn end_cell(&mut self, now_ns: u64) {
        let saved_ns =
            self.image.filter(|image| image.cell == self.cell).map_or(0, |image| image.cell_done_ns);
        self.unsaved_cells_ns += self.cell_length_ns().saturating_sub(saved_ns);
        self.shift_ns = now_ns.saturating_sub(self.current.end_ns);
        self.cell += 1;
        self.current = self.busy.get(self.cell as usize).copied().unwrap_or(NO_CELL);
        self.cell_done_ns = 0;
        self.computing = false;
        self.kernel_idle_since_ns = now_ns;
        self.idle_periods += 1;
        self.losses = 0;
    }
}

fn prefetch<T>(place: &T) {
    prefetch_index(std::slice::from_ref(place), 0);
}
