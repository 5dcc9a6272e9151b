//! The state machine of one job: relays, dumps, commits, requeues, restores.
