//! One stream of random numbers per (seed, replication, entity, purpose), so that two policies meet the
//! same randomness and the number of threads changes nothing. It must not know what the numbers are for.
//!
//! The generator is pinned: ChaCha with 8 rounds (Bernstein 2008), whose 256-bit key *is* the four
//! numbers. ChaCha is a pseudorandom function of its key, so streams of different keys are independent
//! and nothing is hashed or warmed up. `rand`'s `StdRng` may change between versions; this may not.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a stream is for. Equal names are equal purposes, in every crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Purpose(u64);

impl Purpose {
    /// The purpose called `name`, by the 64-bit FNV-1a hash of it.
    pub const fn named(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut index = 0;
        while index < bytes.len() {
            hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
            index += 1;
        }
        Self(hash)
    }
}

/// A stream of random numbers. Its output is part of the contract: same key, same numbers, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream(ChaCha8Rng);

/// The stream of one purpose of one entity in one replication under one seed.
pub fn stream(seed: u64, replication: u64, entity: u64, purpose: Purpose) -> Stream {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, replication, entity, purpose.0]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Stream(ChaCha8Rng::from_seed(key))
}

impl Stream {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number strictly between 0 and 1, on a grid of 2^-53: safe for any inverse CDF.
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        ((self.next_u64() >> 11) as f64 + 0.5) * STEP
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// A uniform number in `0..below`, without bias to speak of (2^-64 relative; Lemire 2019).
    /// 0 if `below` is 0.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(below)) >> 64) as u64
    }
}
