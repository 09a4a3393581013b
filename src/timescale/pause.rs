//! Pauses that do not fall together.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The pause, less up to one part in `parts` by chance: several bridges that start together part.
pub fn jittered(pause: Duration, parts: u32) -> Duration {
    let chance = RandomState::new().hash_one(pause) % 1024;
    pause - pause / parts * (chance as u32) / 1024
}
