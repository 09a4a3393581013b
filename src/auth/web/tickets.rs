//! Tickets: what a page puts into the URL of a stream, because `EventSource` and `WebSocket` of browsers send no headers
//! of a page's choice.
//!
//! URLs get into logs and histories, so a ticket is good for one request within [`limits::TICKET_LIFE`]. It stands for
//! the very caller that asked for it, and ends with it. There are so many at most; then the oldest make room.

use std::{collections::VecDeque, time::Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{
    caller::Caller,
    keys::{Hash, hash, secret},
};
use crate::limits;

/// A ticket for whoever asked for it.
#[derive(Debug)]
pub struct Ticket(String);

impl Ticket {
    /// The text that is the ticket.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The tickets that are out.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Out>);

#[derive(Debug, Default)]
struct Out {
    callers: HashMap<Hash, Caller>,
    /// In the order in which they were given; some may have been used.
    given: VecDeque<(Instant, Hash)>,
}

impl Tickets {
    /// Gives one out.
    pub fn give(&self, caller: &Caller) -> Result<Ticket, getrandom::Error> {
        let secret = secret()?;
        let mut out = self.0.lock();
        out.forget(Instant::now(), limits::TICKETS - 1);
        out.callers.insert(hash(&secret), caller.clone());
        out.given.push_back((Instant::now(), hash(&secret)));
        Ok(Ticket(secret))
    }

    /// The caller of a ticket, which is worth nothing from then on.
    pub fn take(&self, ticket: &str) -> Option<Caller> {
        let mut out = self.0.lock();
        out.forget(Instant::now(), limits::TICKETS);
        out.callers.remove(&hash(ticket))
    }
}

impl Out {
    fn forget(&mut self, now: Instant, most: usize) {
        while let Some((given, hash)) = self.given.front() {
            if self.given.len() <= most && now.saturating_duration_since(*given) < limits::TICKET_LIFE {
                return;
            }
            self.callers.remove(hash);
            self.given.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Grants;

    #[test]
    fn a_ticket_is_good_once_and_for_a_while() {
        let tickets = Tickets::default();
        let caller = Caller::anyone(Grants::none());
        let ticket = tickets.give(&caller).unwrap();
        assert!(tickets.take("other").is_none() && tickets.take(ticket.expose()).is_some());
        assert!(tickets.take(ticket.expose()).is_none(), "it was used");
        let late = tickets.give(&caller).unwrap();
        tickets.0.lock().forget(Instant::now() + limits::TICKET_LIFE, limits::TICKETS);
        assert!(tickets.take(late.expose()).is_none());
        let first = tickets.give(&caller).unwrap();
        for _ in 0..limits::TICKETS {
            tickets.give(&caller).unwrap();
        }
        assert!(tickets.take(first.expose()).is_none(), "others have taken its place");
        assert!(tickets.0.lock().callers.len() <= limits::TICKETS);
    }
}
