//! A discrete-event simulator that tells which checkpoint policies pay.
