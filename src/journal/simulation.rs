//! A disk and a clock that misbehave by seed.
//!
//! What the disk does that a real one may do:
//! - A write goes to a cache. When power is lost, each 512-byte sector that was not synced
//!   survives or not, one by one; so does a change of length, and each creation or removal since
//!   the directory was last synced. The write that is under way is torn at any byte.
//! - A failed sync may have synced any of the sectors. The others count as clean from then on, and
//!   either stay in the cache until power is lost, or are gone at once, as on Linux.
//! - Space runs out: when a file is made, if the file system can preallocate, else in the
//!   middle of a write.
//! - Reads fail where told to.
//!
//! A sector is written whole or not at all: without that, no log could share a sector between
//! two writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::storage::{Clock, SegmentFile, Storage};
use crate::types::Micros;

const SECTOR: usize = 512;

/// A small deterministic source of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What may go wrong in one life of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Power is lost during this operation, counted from the start of the life.
    pub power_loss: Option<u64>,
    /// This sync of a file fails, counted from the start of the life.
    pub failing_sync: Option<u64>,
    /// Bytes that fit on the disk.
    pub capacity: u64,
    /// Whether space can be reserved.
    pub preallocates: bool,
    /// Reads fail from now on.
    pub reads_fail: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self { power_loss: None, failing_sync: None, capacity: u64::MAX, preallocates: true, reads_fail: false }
    }
}

#[derive(Default)]
struct Inode {
    /// What everyone reads.
    cache: Vec<u8>,
    /// What survives for sure.
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

enum Change {
    Created(String, usize),
    Removed(String),
}

struct State {
    random: Random,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Change>,
    faults: Faults,
    operations: u64,
    syncs: u64,
    life: u64,
    dead: bool,
}

/// The disk. Clones are the same disk; files opened in an earlier life do not work any more.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            faults: Faults::default(),
            operations: 0,
            syncs: 0,
            life: 0,
            dead: false,
        })))
    }

    /// The disk as a process finds it, with what shall go wrong from here on.
    pub fn start(&self, faults: Faults) -> Arc<dyn Storage> {
        let mut state = self.0.lock();
        state.life += 1;
        (state.operations, state.syncs, state.dead) = (0, 0, false);
        state.faults = faults;
        Arc::new(Mount { disk: self.clone(), life: state.life })
    }

    /// Changes what shall go wrong.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.lock().faults);
    }

    /// The process is killed: what it wrote stays in the cache.
    pub fn kill_process(&self) {
        self.0.lock().dead = true;
    }

    /// Power is lost: what was not synced survives in part.
    pub fn lose_power(&self) {
        self.0.lock().lose_power();
    }

    /// Whether the power is off or the process was killed.
    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Syncs of files in this life.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// The bytes of a file, as everyone reads them.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock();
        state.inodes[state.names[name]].cache.clone()
    }

    /// Changes a file behind everyone's back, for good.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = state.names[name];
        let inode = &mut state.inodes[inode];
        change(&mut inode.cache);
        inode.durable = inode.cache.clone();
        inode.dirty.clear();
    }

    /// Removes a file, or adds one, behind everyone's back.
    pub fn tamper_names(&self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        let mut state = self.0.lock();
        change(&mut state.names);
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Counts an operation; true when the power is lost during it.
    fn begin(&mut self, life: u64) -> io::Result<bool> {
        if self.dead || self.life != life {
            return Err(power_is_off());
        }
        self.operations += 1;
        Ok(self.faults.power_loss == Some(self.operations))
    }

    fn lose_power(&mut self) {
        self.dead = true;
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.random.one_in(2) {
                apply(&mut self.durable_names, change);
            }
        }
        self.names = self.durable_names.clone();
        for inode in &mut self.inodes {
            let longer_or_not = self.random.one_in(2);
            inode.settle(longer_or_not, |_| self.random.one_in(2));
            inode.cache = inode.durable.clone();
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].cache.len() as u64).sum()
    }

    /// Writes as much as there is room for, or torn if the power is lost.
    fn write(&mut self, inode: usize, bytes: &[u8], offset: usize, torn: bool) -> io::Result<()> {
        let grown = (offset + bytes.len()).saturating_sub(self.inodes[inode].cache.len()) as u64;
        let missing = (self.used() + grown).saturating_sub(self.faults.capacity).min(grown);
        let fits = bytes.len() - usize::try_from(missing).unwrap().min(bytes.len());
        let fits = if torn { self.random.below(fits as u64 + 1) as usize } else { fits };
        self.inodes[inode].write(&bytes[..fits], offset);
        if torn {
            self.lose_power();
            return Err(power_is_off());
        }
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        self.syncs += 1;
        let inode = &mut self.inodes[inode];
        if self.faults.failing_sync != Some(self.syncs) {
            inode.settle(true, |_| true);
            return Ok(());
        }
        let random = &mut self.random;
        inode.settle(true, |_| random.one_in(2));
        for sector in 0..inode.cache.len().div_ceil(SECTOR) {
            if random.one_in(2) {
                inode.revert(sector);
            }
        }
        Err(io::Error::other("input/output error"))
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: Change) {
    match change {
        Change::Created(name, inode) => {
            names.insert(name, inode);
        }
        Change::Removed(name) => {
            names.remove(&name);
        }
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
    }

    fn truncate(&mut self, length: usize) {
        self.cache.resize(length, 0);
        self.dirty.extend(length / SECTOR..=self.durable.len() / SECTOR);
    }

    /// Makes the length and the dirty sectors that `survives` tells durable; none is dirty then.
    fn settle(&mut self, new_length: bool, mut survives: impl FnMut(usize) -> bool) {
        let length = if new_length { self.cache.len() } else { self.durable.len() };
        self.durable.resize(length, 0);
        for sector in std::mem::take(&mut self.dirty) {
            if survives(sector) {
                copy_sector(&self.cache, &mut self.durable, sector);
            }
        }
    }

    /// Drops a sector from the cache that was not made durable.
    fn revert(&mut self, sector: usize) {
        copy_sector(&self.durable, &mut self.cache, sector);
    }
}

/// As far as both have it; what only the target has becomes zero.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    for at in sector * SECTOR..((sector + 1) * SECTOR).min(to.len()) {
        to[at] = from.get(at).copied().unwrap_or(0);
    }
}

struct Mount {
    disk: Disk,
    life: u64,
}

impl Mount {
    /// Runs an operation on names that has happened, or not, when the power is lost during it.
    fn change(&self, operation: impl FnOnce(&mut State) -> io::Result<usize>) -> io::Result<Arc<dyn SegmentFile>> {
        let mut state = self.disk.0.lock();
        let power_loss = state.begin(self.life)?;
        if power_loss && state.random.one_in(2) {
            state.lose_power();
            return Err(power_is_off());
        }
        let inode = operation(&mut state);
        if power_loss {
            state.lose_power();
            return Err(power_is_off());
        }
        Ok(Arc::new(Handle { disk: self.disk.clone(), life: self.life, inode: inode? }))
    }
}

impl Storage for Mount {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.disk.0.lock();
        if state.begin(self.life)? {
            state.lose_power();
            return Err(power_is_off());
        }
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        self.change(|state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let mut inode = Inode::default();
            if state.faults.preallocates {
                if state.used() + bytes > state.faults.capacity {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                inode.cache = vec![0; usize::try_from(bytes).unwrap()];
            }
            state.inodes.push(inode);
            let inode = state.inodes.len() - 1;
            state.names.insert(name.into(), inode);
            state.unsynced_names.push(Change::Created(name.into(), inode));
            Ok(inode)
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        self.change(|state| state.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            let inode = state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            state.unsynced_names.push(Change::Removed(name.into()));
            Ok(inode)
        })
        .map(drop)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.begin(self.life)? {
            state.lose_power();
            return Err(power_is_off());
        }
        for change in std::mem::take(&mut state.unsynced_names) {
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }
}

struct Handle {
    disk: Disk,
    life: u64,
    inode: usize,
}

impl SegmentFile for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let torn = state.begin(self.life)?;
        state.write(self.inode, bytes, usize::try_from(offset).unwrap(), torn)
    }

    /// Not an operation that a power loss is aimed at: it would change nothing.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        if state.dead || state.life != self.life {
            return Err(power_is_off());
        }
        if state.faults.reads_fail {
            return Err(io::Error::other("input/output error"));
        }
        let bytes = state.inodes[self.inode].cache.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.begin(self.life)? {
            state.lose_power();
            return Err(power_is_off());
        }
        state.sync(self.inode)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let power_loss = state.begin(self.life)?;
        state.inodes[self.inode].truncate(usize::try_from(length).unwrap());
        if power_loss {
            state.lose_power();
            return Err(power_is_off());
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        if state.dead || state.life != self.life {
            return Err(power_is_off());
        }
        Ok(state.inodes[self.inode].cache.len() as u64)
    }
}

/// A clock that mostly moves on by a little, and sometimes jumps, back too.
pub struct JumpyClock {
    now: AtomicI64,
    random: AtomicU64,
}

impl JumpyClock {
    /// Somewhere in 2023.
    pub fn new(seed: u64) -> Self {
        Self { now: AtomicI64::new(1_700_000_000_000_000), random: AtomicU64::new(seed) }
    }

    /// Sets it.
    pub fn set(&self, now: i64) {
        self.now.store(now, Ordering::Relaxed);
    }
}

impl Clock for JumpyClock {
    fn now(&self) -> Micros {
        let mut random = Random::new(self.random.fetch_add(1, Ordering::Relaxed));
        let step = match random.below(100) {
            0 => 5_000_000,
            1 => -5_000_000,
            n => i64::try_from(n).unwrap(),
        };
        Micros::saturating(self.now.fetch_add(step, Ordering::Relaxed) + step)
    }
}
