//! The suites that run on the testbed's real cluster.
