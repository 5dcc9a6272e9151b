//! The image store: stage, commit, verify, list and retain checkpoint images.
