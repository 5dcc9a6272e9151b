//! The SPANK plugin spank_stasis.so: hooks only.
