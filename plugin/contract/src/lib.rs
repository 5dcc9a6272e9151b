//! The types that cross a process or a file: no I/O, no clock.
