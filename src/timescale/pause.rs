//! Pauses that do not fall together.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The pause, less up to a tenth by chance: several bridges that start together part.
pub fn jittered(pause: Duration) -> Duration {
    let chance = RandomState::new().hash_one(pause) % 1024;
    pause - pause / 10 * (chance as u32) / 1024
}
