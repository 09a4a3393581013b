//! Files that others change while the bridge runs, such as certificates that are renewed.
//!
//! They are looked at, once a second: that works for every file system and for links that are moved, and costs a
//! few system calls. A change counts when nothing has changed for one more second, so that a certificate and its
//! key, which take their places one after the other, are read together.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::limits;

/// See the module.
pub struct Watch {
    files: Vec<PathBuf>,
    /// What was seen when their content was last asked for.
    known: Vec<Option<Sight>>,
    last: Vec<Option<Sight>>,
    clock: Interval,
}

/// What tells one state of a file from another: device, inode, size, and when it was changed.
type Sight = (u64, u64, u64, i64, i64);

impl Watch {
    /// Files as they are now. None need be there.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self::every(limits::FILES_INTERVAL, files)
    }

    fn every(period: Duration, files: Vec<PathBuf>) -> Self {
        let mut clock = interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = look(&files);
        Self { files, known: seen.clone(), last: seen, clock }
    }

    /// Waits until one has changed. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            self.clock.tick().await;
            let seen = look(&self.files);
            let is_settled = seen == self.last;
            self.last = seen;
            if is_settled && self.last != self.known {
                self.known.clone_from(&self.last);
                return;
            }
        }
    }

    /// Watches these from now on; of those that were watched already, changes since then still count.
    pub fn replace(&mut self, files: Vec<PathBuf>) {
        if files != self.files {
            *self = Self::new(files);
        }
    }
}

fn look(files: &[PathBuf]) -> Vec<Option<Sight>> {
    let sight = |file: &Path| {
        let file = fs::metadata(file).ok()?;
        Some((file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
    };
    files.iter().map(|file| sight(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_and_when_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        fs::write(&one, "1").unwrap();
        let mut watch = Watch::every(Duration::from_millis(5), vec![one.clone(), other.clone()]);
        let soon =
            async |watch: &mut Watch| tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.is_ok();
        fs::write(&one, "11").unwrap();
        assert!(soon(&mut watch).await);
        let again = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(again.is_err(), "a change counts once");
        fs::write(&other, "2").unwrap();
        assert!(soon(&mut watch).await);
        fs::remove_file(&one).unwrap();
        assert!(soon(&mut watch).await);
    }
}
