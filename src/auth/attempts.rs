//! Failed attempts to prove who one is: counted by address and by user name, and refused for a while
//! when there were too many.
//!
//! A client that has come in before, known by its address and name together, is refused for its own
//! failures alone: one device with an old password, or a stranger who guesses at a name, shuts out
//! neither its neighbours behind the same address nor the name's owner. Addresses of this machine, and
//! its socket files, are not counted: a proxy that tells no addresses would stand for all its clients.
//!
//! Invariants: names that nobody has are treated as all others are; what is kept is bounded, also
//! under a flood of addresses and names. Nothing is kept over a restart.

use std::{
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::{limits, types::Peer};

type Random = foldhash::quality::RandomState;

/// When too many is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Failures within [`limits::FAILED_ATTEMPTS_WINDOW`]; 0 for no limit.
    pub failures: u32,
    /// How long no attempt is heard then.
    pub ban: Duration,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self { failures: limits::FAILED_ATTEMPTS, ban: limits::BAN }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    limits: AttemptLimits,
    addresses: HashMap<IpAddr, Failures, Random>,
    names: HashMap<Box<str>, Failures, Random>,
    /// Who has come in from where, with the failures since.
    known: HashMap<(Option<IpAddr>, Box<str>), Failures, Random>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
    banned_until: Option<Instant>,
}

impl Failures {
    const fn none(now: Instant) -> Self {
        Self { since: now, count: 0, banned_until: None }
    }

    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }

    fn is_over(&self, now: Instant) -> bool {
        !self.is_banned(now) && now.duration_since(self.since) >= limits::FAILED_ATTEMPTS_WINDOW
    }

    /// Counts one; whether it was one too many.
    fn count(&mut self, limits: AttemptLimits, now: Instant) -> bool {
        if self.is_over(now) {
            *self = Self::none(now);
        }
        self.count += 1;
        let begins = self.count >= limits.failures && !self.is_banned(now);
        if begins {
            *self = Self { banned_until: Some(now + limits.ban), ..Self::none(now) };
        }
        begins
    }
}

impl Attempts {
    pub(super) fn set_limits(&self, limits: AttemptLimits) {
        self.0.lock().limits = limits;
    }

    /// Whether an attempt is not to be heard.
    pub(super) fn is_banned(&self, peer: Peer, name: &str, now: Instant) -> bool {
        let state = self.0.lock();
        if state.limits.failures == 0 {
            return false;
        }
        let address = source(peer);
        match state.known.get(&(address, name.into())) {
            Some(own) => own.is_banned(now),
            None => {
                let of_address = address.and_then(|address| state.addresses.get(&address));
                // Nobody's name is nobody's: tokens need none beside them.
                [state.names.get(name), of_address].into_iter().flatten().any(|failures| failures.is_banned(now))
            }
        }
    }

    /// Counts a failure; for how long attempts are not heard now, if it was one too many.
    pub(super) fn failed(&self, peer: Peer, name: &str, now: Instant) -> Option<Duration> {
        let mut state = self.0.lock();
        let State { limits, addresses, names, known } = &mut *state;
        if limits.failures == 0 {
            return None;
        }
        let address = source(peer);
        if let Some(own) = known.get_mut(&(address, name.into())) {
            return own.count(*limits, now).then_some(limits.ban);
        }
        let of_name = !name.is_empty() && entry(names, name.into(), now).count(*limits, now);
        let of_address = address.is_some_and(|address| entry(addresses, address, now).count(*limits, now));
        (of_name || of_address).then_some(limits.ban)
    }

    /// Notes that a client has come in.
    pub(super) fn succeeded(&self, peer: Peer, name: &str, now: Instant) {
        let mut state = self.0.lock();
        if state.limits.failures > 0 {
            *entry(&mut state.known, (source(peer), name.into()), now) = Failures::none(now);
        }
    }
}

/// The record of a key, in a table that is kept within its bound.
fn entry<K: Eq + Hash>(table: &mut HashMap<K, Failures, Random>, key: K, now: Instant) -> &mut Failures {
    if table.len() >= limits::ATTEMPT_RECORDS && !table.contains_key(&key) {
        make_room(table);
    }
    table.entry(key).or_insert(Failures::none(now))
}

/// Forgets the older half, those that are banned last: seldom, so that it costs each entry little.
fn make_room<K: Eq + Hash>(table: &mut HashMap<K, Failures, Random>) {
    let age = |failures: &Failures| (failures.banned_until.is_some(), failures.since);
    let mut ages: Vec<_> = table.values().map(age).collect();
    let middle = ages.len() / 2;
    let (_, &mut median, _) = ages.select_nth_unstable(middle);
    let mut left = middle;
    table.retain(|_, failures| {
        // Those of one moment are all of the same age.
        let goes = age(failures) <= median && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

/// What is counted of a peer.
fn source(peer: Peer) -> Option<IpAddr> {
    peer.source().filter(|address| !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AttemptLimits = AttemptLimits { failures: 3, ban: Duration::from_secs(30) };

    fn peer(address: &str) -> Peer {
        Peer::Network((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    fn fail<T>(times: std::ops::Range<u32>, attempt: impl Fn() -> T) {
        times.for_each(|_| _ = attempt());
    }

    fn attempts() -> Attempts {
        let attempts = Attempts::default();
        attempts.set_limits(LIMITS);
        attempts
    }

    #[test]
    fn an_address_is_refused_for_a_while_after_too_many_failures() {
        let (attempts, start) = (attempts(), Instant::now());
        let thief = peer("192.0.2.7");
        for n in 0..3 {
            assert!(!attempts.is_banned(thief, "x", start));
            assert_eq!(attempts.failed(thief, &format!("name-{n}"), start), (n == 2).then_some(LIMITS.ban));
        }
        assert!(attempts.is_banned(thief, "x", start + Duration::from_secs(29)));
        assert!(!attempts.is_banned(thief, "x", start + Duration::from_secs(30)));
        assert!(!attempts.is_banned(peer("192.0.2.8"), "x", start));
        // Failures that are far apart do not add up.
        for n in 0..9 {
            assert_eq!(attempts.failed(peer("192.0.2.9"), "y", start + n * limits::FAILED_ATTEMPTS_WINDOW), None);
        }
    }

    #[test]
    fn a_name_is_refused_from_everywhere_but_where_its_owner_is() {
        let (attempts, now) = (attempts(), Instant::now());
        let owner = peer("198.51.100.1");
        attempts.succeeded(owner, "pump", now);
        for n in 1..=3 {
            attempts.failed(peer(&format!("192.0.2.{n}")), "pump", now);
        }
        assert!(attempts.is_banned(peer("192.0.2.9"), "pump", now));
        assert!(!attempts.is_banned(owner, "pump", now));
        // Not even by what its neighbours behind the same address do, but by what it does itself.
        fail(0..3, || attempts.failed(owner, "valve", now));
        assert!(attempts.is_banned(owner, "valve", now) && !attempts.is_banned(owner, "pump", now));
        fail(0..3, || attempts.failed(owner, "pump", now));
        assert!(attempts.is_banned(owner, "pump", now));
    }

    #[test]
    fn networks_are_counted_as_one_and_this_machine_by_name_alone() {
        let (attempts, now) = (attempts(), Instant::now());
        for n in 1..=3 {
            attempts.failed(peer(&format!("2001:db8:0:1::{n}")), &format!("six-{n}"), now);
            attempts.failed(peer("127.0.0.1"), &format!("four-{n}"), now);
            attempts.failed(Peer::Unix { pid: None, uid: 0 }, "guessed", now);
        }
        assert!(attempts.is_banned(peer("2001:db8:0:1::ffff"), "x", now));
        assert!(!attempts.is_banned(peer("2001:db8:0:2::1"), "x", now));
        assert!(!attempts.is_banned(peer("127.0.0.1"), "x", now));
        assert!(attempts.is_banned(peer("::1"), "guessed", now));
    }

    #[test]
    fn floods_of_names_and_addresses_are_bounded() {
        let (attempts, now) = (attempts(), Instant::now());
        fail(0..3, || attempts.failed(peer("192.0.2.7"), "banned", now));
        for n in 0..3 * limits::ATTEMPT_RECORDS as u32 {
            let peer = peer(&std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string());
            attempts.failed(peer, &n.to_string(), now);
            attempts.succeeded(peer, &format!("good-{n}"), now);
        }
        let state = attempts.0.lock();
        for len in [state.addresses.len(), state.names.len(), state.known.len()] {
            assert!(len <= limits::ATTEMPT_RECORDS, "{len}");
        }
        drop(state);
        assert!(attempts.is_banned(peer("192.0.2.7"), "x", now), "those that are banned are forgotten last");
    }

    #[test]
    fn no_limit_is_no_limit() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        attempts.set_limits(AttemptLimits { failures: 0, ..LIMITS });
        fail(0..100, || attempts.failed(peer("192.0.2.7"), "x", now));
        assert!(!attempts.is_banned(peer("192.0.2.7"), "x", now));
    }
}
