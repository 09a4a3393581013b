//! Hashes of levels and paths, under a random key of each tree's own.
//!
//! A path is the first levels of a filter or topic; its hash is that of the path one level shorter
//! joined with the hash of the level. So a walk pays for each step the same, however long the
//! path is. The key keeps clients from choosing filters that share a hash ahead of time. It is
//! no cryptography: whoever could watch the hashes could find some, and would slow down the
//! lookups of these filters; no more, since a filter is taken for another never (see
//! [`FilterTree`](super::FilterTree)).

use std::hash::{BuildHasher, Hash, Hasher};

use crate::types::TopicFilter;

/// The path without a level.
pub(super) const ROOT: u64 = 0;

pub(super) struct Hashing<S> {
    key: S,
    /// The hash of the level `+`.
    pub(super) single: u64,
    /// The hash of the level `#`.
    pub(super) multi: u64,
}

impl<S: BuildHasher + Default> Default for Hashing<S> {
    fn default() -> Self {
        let key = S::default();
        Self { single: level(&key, "+"), multi: level(&key, "#"), key }
    }
}

impl<S: BuildHasher> Hashing<S> {
    pub(super) fn of_level(&self, text: &str) -> u64 {
        level(&self.key, text)
    }

    /// The path that is one level longer.
    pub(super) fn join(&self, path: u64, level: u64) -> u64 {
        let mut hasher = self.key.build_hasher();
        hasher.write_u64(path);
        hasher.write_u64(level);
        hasher.finish()
    }

    pub(super) fn of_filter(&self, filter: &TopicFilter) -> u64 {
        filter.levels().fold(ROOT, |path, level| self.join(path, self.of_level(level)))
    }

    /// The paths that lead to a filter, from [`ROOT`] on, each with the level that comes next.
    pub(super) fn prefixes<'a>(&self, filter: &'a TopicFilter) -> impl Iterator<Item = (u64, &'a str)> {
        filter.levels().scan(ROOT, |path, level| {
            let prefix = *path;
            *path = self.join(prefix, self.of_level(level));
            Some((prefix, level))
        })
    }

    pub(super) fn of_key(&self, key: impl Hash) -> u64 {
        self.key.hash_one(key)
    }
}

fn level(key: &impl BuildHasher, text: &str) -> u64 {
    let mut hasher = key.build_hasher();
    hasher.write(text.as_bytes());
    hasher.finish()
}
