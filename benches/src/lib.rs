//! Benches: criterion, and side-by-side comparisons with peers.
