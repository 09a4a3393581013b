//! Names of publications, for [`limits::IDEMPOTENCY_WINDOW`]: whoever tries again with the same name gets the same
//! answer, and nothing is published twice.
//!
//! Before anything is appended, the name is put into the state store and synced, with the end of the journal at
//! that moment and a digest of the request. The record carries the name too, as a user property. Then the place
//! of the record is noted with the name. A process that ends in between leaves a name without a place: the next
//! request with it looks through the journal from where it was then, and finds the record, or knows that there is
//! none. A request that is under way holds its name, so that no other looks before the record is on disk.
//!
//! Non-guarantee: a record that retention has removed before that look is not found.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::{CLIENT_ID, PublishError, published};
use crate::{
    journal::{
        Checkpoint, Clock, Consumer, Journal, ReadError, Record, StateError, StateStore, SystemClock, Watermark,
    },
    limits,
    types::{EventMapper, IdempotencyKey, KEY_PROPERTY, Micros, PublishRequest, Published, Sequence},
};

/// Where names are in the store, with what is known of them as JSON.
const SPACE: &str = "idempotency";

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of everything that the request says.
    digest: Uuid,
    /// Microseconds since 1970 when it was first given.
    at: i64,
    /// The record is behind this one, if there is a record.
    after: u64,
    /// Its place and its event, once they are known.
    done: Option<(u64, Uuid)>,
}

impl Entry {
    /// A request that is to be carried out now.
    pub fn of(request: &PublishRequest, journal: &Journal) -> Self {
        let after = journal.watermark(Watermark::Appended).0;
        Self { digest: digest(request), at: SystemClock.now().get(), after, done: None }
    }

    /// Whether it is of the same request.
    pub fn is_for(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    pub fn after(&self) -> Sequence {
        Sequence(self.after)
    }

    /// What an earlier request has done.
    pub fn done(&self) -> Option<Published> {
        let (sequence, event_id) = self.done?;
        Some(Published { sequence: Sequence(sequence), event_id, is_repeated: true })
    }

    /// The same, done.
    pub fn with(self, published: Published) -> Self {
        Self { done: Some((published.sequence.0, published.event_id)), ..self }
    }

    fn is_over(&self, now: Micros) -> bool {
        let age = now.get().saturating_sub(self.at);
        age > i64::try_from(limits::IDEMPOTENCY_WINDOW.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Each part with its length, so that no two requests are one text.
fn digest(request: &PublishRequest) -> Uuid {
    let mut hash = Sha256::new();
    for part in [request.topic.as_str().as_bytes(), &request.properties, &request.payload] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update([request.qos.into(), u8::from(request.retain)]);
    let digest: [u8; 32] = hash.finalize().into();
    Uuid::from_slice(digest.get(..16).unwrap_or_default()).unwrap_or_default()
}

/// See the module.
pub struct Keys {
    store: Arc<StateStore>,
    under_way: Mutex<HashSet<IdempotencyKey>>,
    /// When old names were last looked for.
    kept_up: Mutex<Option<Instant>>,
}

/// Holds a name.
pub struct Turn<'a> {
    keys: &'a Keys,
    key: IdempotencyKey,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.keys.under_way.lock().remove(&self.key);
    }
}

impl Keys {
    pub fn new(store: Arc<StateStore>) -> Self {
        Self { store, under_way: Mutex::default(), kept_up: Mutex::default() }
    }

    /// Holds a name, unless another request does.
    pub fn enter(&self, key: &IdempotencyKey) -> Option<Turn<'_>> {
        self.keep_up();
        self.under_way.lock().insert(key.clone()).then(|| Turn { keys: self, key: key.clone() })
    }

    /// What is known of a name.
    pub async fn find(&self, key: &IdempotencyKey) -> Result<Option<Entry>, PublishError> {
        let (store, key) = (Arc::clone(&self.store), key.clone());
        let value = blocking(move || store.get(SPACE, key.as_str().as_bytes())).await?;
        let Some(value) = value else { return Ok(None) };
        let entry: Entry = serde_json::from_slice(&value).map_err(|_| StateError::Value { space: SPACE })?;
        Ok(Some(entry).filter(|entry| !entry.is_over(SystemClock.now())))
    }

    /// Notes what is known of a name, or forgets it; on disk when this returns.
    pub async fn put(&self, key: &IdempotencyKey, entry: Option<Entry>) -> Result<(), PublishError> {
        let (store, key) = (Arc::clone(&self.store), key.clone());
        blocking(move || {
            let mut checkpoint = Checkpoint::default();
            let value = entry.and_then(|entry| serde_json::to_vec(&entry).ok());
            checkpoint.set(SPACE, key.as_str().as_bytes(), value);
            store.commit(Consumer::Publishing, checkpoint, Sequence::ZERO)
        })
        .await
    }

    /// Forgets old names, once in a while.
    fn keep_up(&self) {
        {
            let mut kept_up = self.kept_up.lock();
            if kept_up.is_some_and(|last| last.elapsed() < limits::IDEMPOTENCY_UPKEEP) {
                return;
            }
            *kept_up = Some(Instant::now());
        }
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = forget_old(&store, SystemClock.now()) {
                tracing::warn!(%error, "old idempotency keys are not removed");
            }
        });
    }
}

fn forget_old(store: &StateStore, now: Micros) -> Result<(), StateError> {
    let mut after = Vec::new();
    loop {
        let pairs = store.behind(SPACE, &after, limits::IDEMPOTENCY_STEP)?;
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        after.clone_from(last);
        let mut checkpoint = Checkpoint::default();
        let mut is_empty = true;
        for (key, value) in pairs {
            // One that cannot be read is of no use.
            if serde_json::from_slice::<Entry>(&value).is_ok_and(|entry| !entry.is_over(now)) {
                continue;
            }
            is_empty = false;
            checkpoint.set(SPACE, key, None);
        }
        if !is_empty {
            store.commit(Consumer::Publishing, checkpoint, Sequence::ZERO)?;
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, PublishError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| PublishError::Unavailable(error.into()))??)
}

/// Looks for the record of a name behind a place in the journal, up to what is durable.
pub async fn search(
    journal: &Journal,
    mapper: &dyn EventMapper,
    after: Sequence,
    key: &IdempotencyKey,
) -> Result<Option<Published>, PublishError> {
    let mut reader = journal.reader(after, Watermark::Durable);
    while let Some(slice) = reader.next_kept().await.map_err(unreadable)? {
        for record in slice.records() {
            let Record::Publication { publication, .. } = record else { continue };
            let mut properties = publication.properties.user_properties();
            if publication.client_id == CLIENT_ID
                && properties.any(|(name, value)| name == KEY_PROPERTY && value == key.as_str())
            {
                return Ok(Some(Published { is_repeated: true, ..published(&publication, mapper) }));
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(None)
}

fn unreadable(error: ReadError) -> PublishError {
    PublishError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Qos;

    fn request(payload: &str) -> PublishRequest {
        PublishRequest {
            topic: "a".parse().unwrap(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Vec::new(),
            key: None,
            is_granted: false,
        }
    }

    fn entry(at: i64) -> Entry {
        Entry { digest: digest(&request("x")), at, after: 7, done: Some((9, Uuid::from_u128(3))) }
    }

    fn store(directory: &tempfile::TempDir) -> Arc<StateStore> {
        Arc::new(StateStore::open(directory.path(), Uuid::nil(), 1 << 20).unwrap())
    }

    #[test]
    fn requests_differ_in_every_part() {
        let one = request("x");
        let others = [
            request("y"),
            PublishRequest { topic: "b".parse().unwrap(), ..one.clone() },
            PublishRequest { qos: Qos::AtMostOnce, ..one.clone() },
            PublishRequest { retain: true, ..one.clone() },
            PublishRequest { properties: b"x".into(), payload: Vec::new(), ..one.clone() },
        ];
        assert!(others.iter().all(|other| digest(other) != digest(&one)));
        assert_eq!(digest(&one), digest(&request("x")));
    }

    #[tokio::test]
    async fn what_is_noted_is_there_after_a_restart_and_goes_after_the_window() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemClock.now().get();
        let day = i64::try_from(limits::IDEMPOTENCY_WINDOW.as_micros()).unwrap();
        let [new, old]: [IdempotencyKey; 2] = ["new", "old"].map(|key| key.parse().unwrap());
        {
            let keys = Keys::new(store(&directory));
            keys.put(&new, Some(entry(now))).await.unwrap();
            keys.put(&old, Some(entry(now - day - 1))).await.unwrap();
        }
        let store = store(&directory);
        let keys = Keys::new(Arc::clone(&store));
        assert_eq!(keys.find(&new).await.unwrap(), Some(entry(now)));
        assert_eq!(keys.find(&old).await.unwrap(), None);
        forget_old(&store, Micros::saturating(now)).unwrap();
        assert!(store.get(SPACE, b"old").unwrap().is_none() && store.get(SPACE, b"new").unwrap().is_some());
        forget_old(&store, Micros::saturating(now + day + 1)).unwrap();
        assert!(store.get(SPACE, b"new").unwrap().is_none());
    }

    #[tokio::test]
    async fn one_request_holds_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::new(store(&directory));
        let key: IdempotencyKey = "one".parse().unwrap();
        let turn = keys.enter(&key);
        assert!(turn.is_some() && keys.enter(&key).is_none());
        drop(turn);
        assert!(keys.enter(&key).is_some());
    }
}
