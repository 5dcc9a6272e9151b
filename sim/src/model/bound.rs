//! What a session would have cost always-on, and a sum that no policy can do without. Their quotients with
//! what a policy really cost are its savings and its competitive ratio.
//!
//! The bound holds for each session by itself, because others on the same store and machines only delay it:
//!
//! - all planned computing is paid for, on a machine at the cheapest price for the least memory it ever had;
//! - for the pause after a cell there are three ways, and each costs at least this much machine time: keep
//!   the machine (the pause), write and read an image (dump, boot and restore at the least memory), or lose
//!   the cell (its share that is run again, boot, and the cheaper of a restore and a cold start);
//! - nothing is charged for the time before the first cell and after the last one.
//!
//! With waiting priced in, the last two ways make the user wait for a boot and for the session.

use super::spec::{CloudSpec, PeopleSpec, SlurmSpec};
use stasis_contract::CostModel;
use stasis_policy::placement::Size;
use stasis_workloads::Session;

/// The prices and times that baseline and bound are made of.
#[derive(Debug, Clone)]
pub struct Reference<'a> {
    pub cost: &'a CostModel,
    pub people: &'a PeopleSpec,
    pub cloud: Option<&'a CloudSpec>,
    pub slurm: Option<&'a SlurmSpec>,
}

/// Baseline and bounds of one session, in money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reckoning {
    /// Always on, on demand, at the requested size.
    pub baseline: f64,
    /// No policy costs less.
    pub bound: f64,
    /// No policy costs less with waiting priced in.
    pub bound_felt: f64,
}

impl Reference<'_> {
    /// Reckons one session of which the first `cells` cells were computed: what a policy left undone must
    /// not count against its bound.
    pub fn reckon(&self, session: &Session, cells: usize) -> Reckoning {
        let request = session.request;
        let requested = Size { cores_milli: request.cores_milli, memory_bytes: request.memory_bytes };
        let least_bytes = session.memory.iter().map(|step| step.bytes).min().unwrap_or(request.memory_bytes);
        let least = Size {
            cores_milli: (f64::from(request.cores_milli) * self.people.cores_used_share) as u32,
            memory_bytes: least_bytes.min(request.memory_bytes),
        };
        let hours = |ns: u64| ns as f64 / 3.6e12;
        let rate = self.price_per_h(least) * self.cheapest_ratio();
        let wait_price = self.people.wait_price_per_h;
        let boot_h = self.boot_s() / 3600.0;
        let dump_h = self.cost.dump_s(least_bytes) / 3600.0;
        let restore_h = self.cost.restore_s(least_bytes) / 3600.0;
        let back_h = (self.people.cold_start_s / 3600.0).min(restore_h);
        let first_wait_h = boot_h + self.people.cold_start_s / 3600.0;
        let (mut bound, mut felt) = (0.0, wait_price * first_wait_h);
        let computed = &session.busy[..cells.min(session.busy.len())];
        for (index, cell) in computed.iter().enumerate() {
            let cell_h = hours(cell.length_ns());
            bound += rate * cell_h;
            felt += rate * cell_h;
            if let Some(next) = computed.get(index + 1) {
                let keep_h = hours(next.start_ns - cell.end_ns);
                let suspend_h = dump_h + boot_h + restore_h;
                let lose_h = self.people.rerun_share * cell_h + boot_h + back_h;
                bound += rate * keep_h.min(suspend_h).min(lose_h);
                let away = rate * suspend_h.min(lose_h) + wait_price * (boot_h + back_h);
                felt += (rate * keep_h).min(away);
            }
        }
        Reckoning {
            baseline: self.price_per_h(requested) * hours(session.span_ns()),
            bound,
            bound_felt: felt,
        }
    }

    fn price_per_h(&self, size: Size) -> f64 {
        match (self.cloud, self.slurm) {
            (Some(cloud), _) => cloud.price_per_h(size),
            (_, Some(slurm)) => slurm.price_per_core_h * f64::from(size.cores_milli) / 1000.0,
            _ => 0.0,
        }
    }

    fn cheapest_ratio(&self) -> f64 {
        self.cloud.and_then(|cloud| cloud.spot.as_ref()).map_or(1.0, |spot| spot.price_ratio)
    }

    fn boot_s(&self) -> f64 {
        self.cloud.map_or_else(|| self.slurm.map_or(0.0, |slurm| slurm.launch_s), |cloud| cloud.boot_s)
    }
}
