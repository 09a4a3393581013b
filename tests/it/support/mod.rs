//! What the tests share: the bridge as a process, clients, a database of one's own, and a proxy
//! that misbehaves on request.

pub mod bridge;
pub mod chaos;
pub mod clients;
pub mod database;
pub mod process;
pub mod raw_mqtt;
pub mod raw_websocket;
pub mod sse;

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;

/// How long a condition may take to come true. Only a test that fails waits this long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at a condition that cannot announce itself.
const POLL: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    within(what, wait).await
}

/// The future's value, or a panic that says what never came.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s in vain: {what}", DEADLINE.as_secs()),
    }
}

/// A directory on the disk that the build is on: where fsync costs something.
pub fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

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
