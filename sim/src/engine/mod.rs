//! What any discrete-event model needs and no session is mentioned in.

pub mod histogram;
pub mod queue;
pub mod store;
