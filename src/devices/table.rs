//! The devices: those that spoke since the last checkpoint in memory, all others in the store.
//!
//! A device that speaks and is not in memory is read from the store first. A checkpoint writes what
//! has changed, and may let go of all of it: memory is bounded by [`limits::DEVICE_VALUES_IN_MEMORY`], however
//! many devices there are. Those that have only come or gone since they were read stay no longer than to the next
//! checkpoint, which is due once there are [`limits::SILENT_DEVICES_IN_MEMORY`] of them: of a fleet that is connected
//! and says nothing, none is in memory.

use std::{collections::BTreeMap, sync::Arc};

use super::{connections::note, leaves::leaves};
use crate::{
    journal::{Checkpoint, StateError, StateStore},
    limits,
    types::{DeviceState, LastValue, Micros, Presence, Publication, Sequence, SynapEvent},
};

/// Where devices are in the store: by name, as JSON.
const SPACE: &str = "devices";

/// See the module.
pub struct Table {
    store: Arc<StateStore>,
    by_name: BTreeMap<Box<str>, Entry>,
    /// Values in memory.
    values: usize,
    /// Devices in memory that have not spoken since they were read.
    silent: usize,
    /// What the last checkpoint was complete up to.
    stored: Sequence,
    /// The store takes nothing any more.
    has_failed: bool,
    /// A checkpoint is being written, whose entries are the ones that are not dirty.
    is_writing: bool,
}

struct Entry {
    state: DeviceState,
    is_dirty: bool,
    has_spoken: bool,
}

impl Table {
    /// What the store has, complete up to `stored`.
    pub const fn new(store: Arc<StateStore>, stored: Sequence) -> Self {
        Self { store, by_name: BTreeMap::new(), values: 0, silent: 0, stored, has_failed: false, is_writing: false }
    }

    /// Where it is kept.
    pub fn store(&self) -> Arc<StateStore> {
        Arc::clone(&self.store)
    }

    /// Whether a checkpoint is due for memory's sake.
    pub const fn is_full(&self) -> bool {
        (self.has_many_values() || self.silent >= limits::SILENT_DEVICES_IN_MEMORY)
            && !self.has_failed
            && !self.is_writing
    }

    const fn has_many_values(&self) -> bool {
        self.values >= limits::DEVICE_VALUES_IN_MEMORY
    }

    #[cfg(test)]
    pub const fn values_in_memory(&self) -> usize {
        self.values
    }

    #[cfg(test)]
    pub fn devices_in_memory(&self) -> usize {
        self.by_name.len()
    }

    /// Takes an event in, if it is a device's.
    pub fn take(&mut self, publication: &Publication<'_>, event: &SynapEvent<'_>) {
        let Some(name) = event.device else { return };
        let Some(entry) = self.change(name, publication.received, |state| update(state, publication, event)) else {
            return;
        };
        if !std::mem::replace(&mut entry.has_spoken, true) {
            self.silent -= 1;
        }
    }

    /// Takes in that a device has come or gone.
    pub fn note(&mut self, presence: &Presence<'_>) {
        self.change(presence.device, presence.received, |state| note(state, presence));
    }

    fn change(&mut self, name: &str, first_seen: Micros, change: impl FnOnce(&mut DeviceState)) -> Option<&mut Entry> {
        if !self.by_name.contains_key(name) {
            let state = self.read(name).unwrap_or_else(|error| {
                tracing::error!(%error, device = name, "what was known of a device cannot be read");
                None
            });
            let first = || DeviceState { first_seen, last_seen: first_seen, ..DeviceState::default() };
            let state = state.unwrap_or_else(first);
            self.values += values(&state);
            self.silent += 1;
            self.by_name.insert(name.into(), Entry { state, is_dirty: false, has_spoken: false });
        }
        let entry = self.by_name.get_mut(name)?;
        let before = values(&entry.state);
        entry.is_dirty = true;
        change(&mut entry.state);
        self.values = self.values + values(&entry.state) - before;
        Some(entry)
    }

    /// What has changed since the last checkpoint, complete up to `position`; none when it is not worth a
    /// write, or nothing can be written.
    pub fn changes(&mut self, position: Sequence) -> Option<Checkpoint> {
        if self.has_failed {
            return None;
        }
        let mut checkpoint = Checkpoint::default();
        let mut is_empty = true;
        for (name, entry) in self.by_name.iter_mut().filter(|(_, entry)| entry.is_dirty) {
            entry.is_dirty = false;
            is_empty = false;
            checkpoint.set(SPACE, name.as_bytes(), serde_json::to_vec(&entry.state).ok());
        }
        if is_empty && position.0.saturating_sub(self.stored.0) < limits::DEVICES_CHECKPOINT_RECORDS {
            return None;
        }
        self.stored = position;
        self.is_writing = true;
        Some(checkpoint)
    }

    /// The changes are in the store.
    pub fn written(&mut self) {
        self.is_writing = false;
        if self.has_failed || (self.silent == 0 && !self.has_many_values()) {
            return;
        }
        let keeps_speakers = !self.has_many_values();
        self.by_name.retain(|_, entry| entry.is_dirty || (entry.has_spoken && keeps_speakers));
        self.values = self.by_name.values().map(|entry| values(&entry.state)).sum();
        self.silent = self.by_name.values().filter(|entry| !entry.has_spoken).count();
    }

    /// They are not, and nothing ever will be.
    pub const fn fail(&mut self) {
        self.has_failed = true;
        self.is_writing = false;
    }

    /// One device.
    pub fn get(&self, name: &str) -> Result<Option<DeviceState>, StateError> {
        match self.by_name.get(name) {
            Some(entry) => Ok(Some(entry.state.clone())),
            None => self.read(name),
        }
    }

    /// The first devices behind a name, by name.
    pub fn behind(&self, name: &str, limit: usize) -> Result<Vec<(String, DeviceState)>, StateError> {
        let stored = self.store.behind(SPACE, name.as_bytes(), limit)?;
        let mut found: BTreeMap<String, DeviceState> = BTreeMap::new();
        for (key, value) in stored {
            let name = String::from_utf8(key).map_err(|_| StateError::Value { space: SPACE })?;
            if !self.by_name.contains_key(&*name) {
                found.insert(name, decode(&value)?);
            }
        }
        let live = self.by_name.range::<str, _>((std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded));
        found.extend(live.take(limit).map(|(name, entry)| (name.to_string(), entry.state.clone())));
        Ok(found.into_iter().take(limit).collect())
    }

    fn read(&self, name: &str) -> Result<Option<DeviceState>, StateError> {
        self.store.get(SPACE, name.as_bytes())?.map(|value| decode(&value)).transpose()
    }
}

fn decode(value: &[u8]) -> Result<DeviceState, StateError> {
    serde_json::from_slice(value).map_err(|_| StateError::Value { space: SPACE })
}

/// What a device takes of [`limits::DEVICE_VALUES_IN_MEMORY`].
fn values(state: &DeviceState) -> usize {
    let metrics = state.metrics.as_ref().map_or(0, BTreeMap::len);
    let topics = state.retained_topics.as_ref().map_or(0, Vec::len);
    4 + metrics + topics + state.connections.len()
}

fn update(state: &mut DeviceState, publication: &Publication<'_>, event: &SynapEvent<'_>) {
    state.last_seen = publication.received;
    state.events += 1;
    // What came by HTTP has none, and says nothing of the device's own.
    if !publication.client_id.is_empty() {
        set(&mut state.client_id, publication.client_id);
    }
    set(&mut state.last_type, &event.event_type);
    set(&mut state.last_topic, publication.topic);
    if publication.retain {
        retain(state.retained_topics.get_or_insert_default(), publication);
    }
    let metrics = state.metrics.get_or_insert_default();
    let timestamp = event.timestamp;
    leaves(&event.data, &mut |path, value| {
        let has_room = metrics.len() < limits::DEVICE_METRICS;
        match metrics.get_mut(path) {
            // What comes late was not the last.
            Some(last) if last.timestamp > timestamp => {}
            Some(last) => *last = LastValue { value, timestamp },
            None if has_room => drop(metrics.insert(path.into(), LastValue { value, timestamp })),
            None => {}
        }
    });
}

/// Without an allocation where nothing changes, as it mostly is.
fn set(text: &mut String, value: &str) {
    if text != value {
        value.clone_into(text);
    }
}

fn retain(topics: &mut Vec<Box<str>>, publication: &Publication<'_>) {
    let known = topics.iter().position(|topic| **topic == *publication.topic);
    match known {
        Some(at) if publication.payload.is_empty() => drop(topics.remove(at)),
        None if !publication.payload.is_empty() && topics.len() < limits::DEVICE_RETAINED_TOPICS => {
            topics.push(publication.topic.into());
        }
        _ => {}
    }
}
