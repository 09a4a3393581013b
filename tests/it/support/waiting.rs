//! Waiting for what a test needs, and where its files live.

use std::time::Duration;

use tempfile::TempDir;

/// How long a condition may take to come true. Only a test that fails waits this long.
const DEADLINE: Duration = Duration::from_secs(60);

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
