//! The command stasis: list, show, checkpoint, rm, doctor.
