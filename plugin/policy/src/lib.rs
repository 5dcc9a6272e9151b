//! Pure decisions: when to checkpoint, when an idle session gives its node back, and where it runs.
//!
//! The shepherd of a real job and the simulator call the same code, so a policy that was studied is the
//! policy that runs. That is why nothing here does I/O, reads a clock or draws a random number: the caller
//! gathers [`Facts`], asks [`Policy::decide`], and does what the [`Decision`] says.
//!
//! ```
//! use stasis_policy::{Decision, Facts, Notice, Policy};
//! use stasis_contract::{CostModel, Trigger};
//!
//! let policy = Policy::default(); // a dump on notice, nothing else
//! let mut facts = Facts::new(CostModel::default(), 500_000_000);
//! assert_eq!(policy.decide(&facts), Decision::Continue { look_again_in_s: None });
//!
//! facts.notice = Some(Notice { left_s: 120.0, trigger: Trigger::Preemption });
//! assert_eq!(policy.decide(&facts), Decision::Suspend { trigger: Trigger::Preemption });
//! ```
//!
//! Policies are values in a TOML file; every key carries its unit and an unknown key is an error:
//!
//! ```toml
//! timing.daly = { mtbf_s = 21600 }
//! idle.ski-rental = { signal = "both", wait_weight = 10 }
//! placement = { market.spot-first = { wait_s = 60 }, size.right-size = {} }
//! ```

mod checked;
mod decide;
mod facts;
pub mod idle;
mod lambert;
mod lifetime;
pub mod placement;
pub mod timing;

pub use decide::{Decision, Policy};
pub use facts::{Facts, Notice};
pub use idle::Idle;
pub use lambert::lambert_w0;
pub use lifetime::Lifetime;
pub use placement::Placement;
pub use timing::Timing;
