//! Pure decisions: when to checkpoint, suspend and migrate, and where to run.
