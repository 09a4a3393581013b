//! The paths on which filters with wildcards lie: where a walk finds a `#`, and where it has to
//! go on.
//!
//! A path is known by its hash alone. Should two share one, a walk takes a step too many and
//! finds nothing there; and as a filter is counted under the same hashes when it comes and when it
//! goes, the counts stay right. Nothing here fails.

use hashbrown::{HashTable, hash_table::Entry};

struct Prefix {
    path: u64,
    filters: Counts,
}

/// Filters with wildcards that have a path as their first levels, by what comes next.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// `#`, and that ends them.
    pub(super) multi: u32,
    /// Any other level.
    pub(super) further: u32,
}

impl Counts {
    fn of(&mut self, next: &str) -> &mut u32 {
        if next == "#" { &mut self.multi } else { &mut self.further }
    }
}

fn path_of(prefix: &Prefix) -> u64 {
    prefix.path
}

#[derive(Default)]
pub(super) struct Prefixes(HashTable<Prefix>);

impl Prefixes {
    /// `None` where no filter lies beyond.
    pub(super) fn get(&self, path: u64) -> Option<Counts> {
        let prefix = self.0.find(path, |prefix| prefix.path == path)?;
        Some(prefix.filters)
    }

    /// Counts a filter that begins with `path` and goes on with `next`.
    pub(super) fn add(&mut self, path: u64, next: &str) {
        let mut entry = match self.0.entry(path, |prefix| prefix.path == path, path_of) {
            Entry::Occupied(known) => known,
            Entry::Vacant(free) => free.insert(Prefix { path, filters: Counts::default() }),
        };
        *entry.get_mut().filters.of(next) += 1;
    }

    /// Takes back one [`add`](Self::add).
    pub(super) fn remove(&mut self, path: u64, next: &str) {
        let Ok(mut known) = self.0.find_entry(path, |prefix| prefix.path == path) else { return };
        *known.get_mut().filters.of(next) -= 1;
        if known.get().filters == Counts::default() {
            known.remove();
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.0.is_empty() {
            self.0 = HashTable::new();
        } else if self.0.capacity() / 4 > self.0.len() {
            self.0.shrink_to(self.0.len() * 2, path_of);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
