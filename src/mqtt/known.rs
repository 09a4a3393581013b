//! Addresses from which clients have come that are no strangers: they proved who they are, or took up a
//! session that was kept for them. Where strangers have taken the file descriptors, clients from these
//! addresses still come in (`types::Descriptors`).
//!
//! Written where a client is let in, read where a connection is accepted and descriptors are scarce. An address
//! is all that is known of a connection at that moment: others behind the same one share in it, and behind a proxy, or
//! on a socket file, nobody has one of their own. Invariant: at most [`limits::KNOWN_ADDRESSES`], the latest;
//! nothing is kept over a restart.

use std::net::IpAddr;

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::{limits, types::Peer};

type Addresses = HashSet<IpAddr, foldhash::quality::RandomState>;

/// See the module.
#[derive(Debug, Default)]
pub struct KnownAddresses(Mutex<Generations>);

/// Half of them at a time, so that the older half goes at once and no address is looked for.
#[derive(Debug, Default)]
struct Generations {
    young: Addresses,
    old: Addresses,
}

impl KnownAddresses {
    /// A client from there is no stranger.
    pub fn note(&self, peer: Peer) {
        let Some(address) = peer.source() else { return };
        let mut generations = self.0.lock();
        if generations.young.contains(&address) {
            return;
        }
        if generations.young.len() >= limits::KNOWN_ADDRESSES / 2 {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(address);
    }

    /// Whether a client has come from there lately that was none.
    #[must_use]
    pub fn contains(&self, peer: Peer) -> bool {
        let Some(address) = peer.source() else { return false };
        let generations = self.0.lock();
        generations.young.contains(&address) || generations.old.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn peer(number: usize) -> Peer {
        SocketAddr::from((Ipv4Addr::from_bits(u32::try_from(number).unwrap()), 1)).into()
    }

    #[test]
    fn the_latest_are_known_and_never_more_than_the_limit() {
        let known = KnownAddresses::default();
        for number in 0..10 * limits::KNOWN_ADDRESSES {
            known.note(peer(number));
            assert!(known.contains(peer(number)));
            assert!(known.contains(peer(number.saturating_sub(limits::KNOWN_ADDRESSES / 2 - 1))));
        }
        let count = (0..10 * limits::KNOWN_ADDRESSES).filter(|&number| known.contains(peer(number))).count();
        assert!(count <= limits::KNOWN_ADDRESSES, "{count}");
        assert!(!known.contains(Peer::Unix { pid: None, uid: 0 }));
    }
}
