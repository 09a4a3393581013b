//! Which ids mean something: the lives of the bridge on this journal.
//!
//! Each start is a life with an epoch of its own, a random number, and with the first sequence that it may
//! give. They are kept in the state store, written before the first id is given. An id is valid where its
//! epoch is a life's, and its sequence one that was given in that life or before. So an id that was given
//! after a backup was made is recognised once the backup is restored: its epoch is not known, or its sequence
//! is one that the life of the backup had not given when the next began. A data directory that is replaced
//! has other lives altogether.
//!
//! On failure of the store the bridge does not start: an id without a record of its epoch would be refused
//! later for no reason that a client could see.

use crate::{
    journal::{Checkpoint, Consumer, Journal, StateError, StateStore, Watermark},
    limits,
    types::{Epoch, LastEventId, Sequence},
};

/// Where lives are in the store: keys of a first sequence and an epoch, big-endian, without values. Two lives may
/// have begun at one place, and given it to clients as the one that they are behind.
const SPACE: &str = "epochs";

/// The lives, oldest first; the last is this one.
#[derive(Clone, Debug)]
pub struct Epochs {
    before: Vec<Life>,
    now: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    /// The first sequence that it may give.
    first: Sequence,
    epoch: Epoch,
}

impl Epochs {
    /// A life that is not on record: its ids end with the process, unless the journal is the same.
    #[must_use]
    pub fn of(journal: &Journal) -> Self {
        Self { before: Vec::new(), now: Life { first: Sequence::ZERO, epoch: journal.epoch() } }
    }

    /// Begins a life, before anything is appended in it. Blocks.
    ///
    /// # Errors
    /// As the store says.
    pub fn begin(journal: &Journal, store: &StateStore) -> Result<Self, StateError> {
        let mut before = Vec::new();
        let mut is_damaged = false;
        store.load(SPACE, |key, _| match Life::read(key) {
            Some(life) => before.push(life),
            None => is_damaged = true,
        })?;
        if is_damaged {
            return Err(StateError::Value { space: SPACE });
        }
        let first = journal.watermark(Watermark::Appended).next();
        let mut checkpoint = Checkpoint::default();
        if before.is_empty() {
            // Ids that an earlier version of this program has given.
            before.push(Life { first: Sequence::ZERO, epoch: journal.epoch() });
        }
        let surplus = before.len().saturating_sub(limits::STREAM_LIVES);
        for life in before.drain(..surplus) {
            checkpoint.set(SPACE, life.key(), None);
        }
        let now = Life { first, epoch: random() };
        for life in before.iter().chain([&now]) {
            checkpoint.set(SPACE, life.key(), Some(Vec::new()));
        }
        store.commit(Consumer::Streams, checkpoint, first)?;
        Ok(Self { before, now })
    }

    /// The id of a record: that of the life which has appended it, so that it is the same ever after.
    #[must_use]
    pub fn id(&self, sequence: Sequence) -> LastEventId {
        let life = if sequence >= self.now.first {
            &self.now
        } else {
            let begun = self.before.partition_point(|life| life.first <= sequence);
            self.before.get(begun.saturating_sub(1)).unwrap_or(&self.now)
        };
        LastEventId { epoch: life.epoch, sequence }
    }

    /// The record that an id stands for, if this journal has given it; `visible` is the last one that it can have
    /// given by now.
    #[must_use]
    pub fn resolve(&self, id: LastEventId, visible: Sequence) -> Option<Sequence> {
        let mut end = visible.next();
        for life in self.before.iter().chain([&self.now]).rev() {
            if life.epoch == id.epoch {
                return (id.sequence < end).then_some(id.sequence);
            }
            end = life.first.min(end);
        }
        None
    }
}

impl Life {
    fn key(&self) -> Vec<u8> {
        [&self.first.0.to_be_bytes()[..], &self.epoch.0.to_be_bytes()].concat()
    }

    fn read(key: &[u8]) -> Option<Self> {
        let (first, epoch) = key.split_first_chunk()?;
        let epoch = Epoch(u32::from_be_bytes(epoch.try_into().ok()?));
        Some(Self { first: Sequence(u64::from_be_bytes(*first)), epoch })
    }
}

fn random() -> Epoch {
    Epoch((uuid::Uuid::new_v4().as_u128() >> 96) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stream::tests::{open_journal, publish},
        types::Qos,
    };

    const fn id(epoch: u32, sequence: u64) -> LastEventId {
        LastEventId { epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    #[test]
    fn an_id_is_valid_as_far_as_its_life_has_come() {
        let life = |first, epoch| Life { first: Sequence(first), epoch: Epoch(epoch) };
        let epochs = Epochs { before: vec![life(0, 1), life(100, 2)], now: life(200, 3) };
        for (epoch, sequence) in [(1, 0), (1, 99), (2, 100), (2, 199), (3, 200), (3, 900)] {
            assert_eq!(epochs.id(Sequence(sequence)), id(epoch, sequence));
        }
        for (epoch, sequence, is_valid) in [
            (1, 0, true),
            (1, 99, true),
            (1, 100, false),
            (2, 50, true),
            (2, 199, true),
            (2, 200, false),
            (3, 250, true),
            (3, 251, false),
            (4, 1, false),
        ] {
            let found = epochs.resolve(id(epoch, sequence), Sequence(250));
            assert_eq!(found, is_valid.then_some(Sequence(sequence)), "{epoch}-{sequence}");
        }
    }

    #[tokio::test]
    async fn a_restored_backup_knows_what_was_given_after_it() {
        let (live, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let journal = open_journal(&live.path().join("journal"));
        let open = |directory: &tempfile::TempDir, journal: &Journal| {
            let store = StateStore::open(&directory.path().join("state"), journal.id(), 1 << 20).unwrap();
            Epochs::begin(journal, &store).unwrap()
        };
        let first = open(&live, &journal);
        let before = first.id(publish(&journal, "t", "before", Qos::AtLeastOnce).await.last());
        journal.close();
        drop(journal);
        // The backup is made while the bridge is down; the live one goes on.
        let copied = std::process::Command::new("cp").arg("-r").arg(live.path().join(".")).arg(backup.path()).status();
        assert!(copied.unwrap().success());
        let journal = open_journal(&live.path().join("journal"));
        let second = open(&live, &journal);
        let after = second.id(publish(&journal, "t", "after", Qos::AtLeastOnce).await.last());
        let visible = journal.watermark(Watermark::Visible);
        assert_eq!(second.resolve(before, visible), Some(before.sequence));
        assert_eq!(second.resolve(after, visible), Some(after.sequence));
        journal.close();

        let journal = open_journal(&backup.path().join("journal"));
        let restored = open(&backup, &journal);
        let mut visible = journal.watermark(Watermark::Visible);
        while visible <= after.sequence {
            visible = publish(&journal, "t", "another", Qos::AtLeastOnce).await.last();
        }
        assert_eq!(restored.resolve(before, visible), Some(before.sequence));
        assert_eq!(restored.resolve(after, visible), None);
        // Under the epoch that the backup was made in, nothing beyond it is valid either.
        let forged = LastEventId { sequence: visible, ..before };
        assert_eq!(restored.resolve(forged, visible), None);
        journal.close();
    }
}
