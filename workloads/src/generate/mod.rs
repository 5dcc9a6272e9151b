//! Seeded generators: traces from a few numbers, where no real trace is at hand or more of one is wanted.
//! Same specification, seed and replication: the same trace, bit for bit on one platform. Entity by entity
//! the randomness is its own stream, so changing one law leaves everything else as it was.

mod arrivals;
mod jobs;
mod machines;
mod sessions;
mod spec;

pub use arrivals::Arrivals;
pub use jobs::jobs;
pub use machines::{lifetimes_ns, spot};
pub use sessions::{SessionGenerator, sessions};
pub use spec::{
    ArrivalSpec, BrowserSpec, CellsSpec, GeneratorSpec, JobSpec, LifetimeSpec, MemorySpec, RequestChoice,
    SessionSpec, SpotSpec,
};
