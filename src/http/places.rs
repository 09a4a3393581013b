//! How many connections there may be: in all, and from one address. A place is held as long as its connection
//! lasts, whatever that has become.
//!
//! Connections from this machine count in all only: there they come from a proxy, which has all of its clients'.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use crate::types::Peer;

/// See the module.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    source: Option<IpAddr>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All are taken.
    #[error("there are as many as `http.maximum_connections` allows")]
    All,
    /// All of one address are.
    #[error("its address has as many as `http.maximum_connections_per_address` allows")]
    OfOne,
}

impl Places {
    /// So many, and so many of them for one address.
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, taken: Mutex::default() })
    }

    /// Takes one for a connection.
    ///
    /// # Errors
    /// [`Full`]
    pub fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Full> {
        let source = peer.source().filter(|address| !address.is_loopback());
        let mut taken = self.taken.lock();
        if taken.all >= self.most {
            return Err(Full::All);
        }
        if let Some(address) = source {
            let of_one = taken.of.entry(address).or_default();
            if *of_one >= self.most_of_one {
                return Err(Full::OfOne);
            }
            *of_one += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        let Some(address) = self.source else { return };
        if let Some(of_one) = taken.of.get_mut(&address) {
            *of_one -= 1;
            if *of_one == 0 {
                taken.of.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn peer(address: &str) -> Peer {
        SocketAddr::new(address.parse().unwrap(), 1).into()
    }

    #[test]
    fn no_address_takes_the_places_of_others() {
        let places = Places::new(5, 2);
        let greedy: Vec<_> = (0..2).map(|_| places.take(peer("192.0.2.1")).unwrap()).collect();
        assert_eq!(places.take(peer("192.0.2.1")).unwrap_err(), Full::OfOne);
        // A host has a whole network of IPv6.
        let network: Vec<_> =
            ["2001:db8::1", "2001:db8::2"].iter().map(|address| places.take(peer(address)).unwrap()).collect();
        assert_eq!(places.take(peer("2001:db8::3")).unwrap_err(), Full::OfOne);
        let other = places.take(peer("192.0.2.2")).unwrap();
        assert_eq!(places.take(peer("192.0.2.3")).unwrap_err(), Full::All);
        drop((greedy, network, other));
        // A proxy on this machine has many clients.
        let proxied: Vec<_> = (0..5).map(|_| places.take(peer("127.0.0.1")).unwrap()).collect();
        assert_eq!(places.take(peer("::1")).unwrap_err(), Full::All);
        drop(proxied);
        assert!(places.taken.lock().of.is_empty());
        assert!(places.take(peer("192.0.2.1")).is_ok());
    }
}
