//! What the tests share: the bridge as a process, clients, a database of one's own, and a proxy
//! that misbehaves on request.

pub mod authority;
pub mod bridge;
pub mod chaos;
pub mod clients;
pub mod database;
pub mod event_socket;
pub mod issuer;
pub mod kratos;
pub mod pooler;
pub mod postgres;
pub mod process;
#[expect(dead_code, reason = "shared with the conformance tests, which use the rest")]
pub mod properties;
#[expect(dead_code, reason = "shared with the conformance tests, which use the rest")]
pub mod raw_mqtt;
pub mod raw_websocket;
pub mod scram;
pub mod sse;
mod waiting;

use std::path::PathBuf;

pub use waiting::{eventually, scratch, within};

/// A path below the package.
pub fn in_package(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A small generator whose whole state is the seed that a failing test prints.
pub struct Random(u64);

impl Random {
    /// From `SYNAP_TEST_SEED`, else from the clock; printed either way.
    pub fn new() -> Self {
        let fresh = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_secs() << 20 ^ u64::from(now.subsec_nanos())
        };
        let seed = std::env::var("SYNAP_TEST_SEED").map_or_else(|_| fresh(), |text| text.parse().unwrap());
        eprintln!("SYNAP_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low + 1)
    }
}
