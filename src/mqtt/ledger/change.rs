//! What the journal records of sessions, beside the publications: the bodies of state changes.
//!
//! A byte for the kind, then its fields; numbers as varints, text and bytes with their length.
//! Sessions have numbers of their own, so that a client identifier is written once a connection.

use super::super::{
    codec::{RetainHandling, Subscription},
    session::SessionId,
    varint::{read_str, read_varint, write_bytes, write_varint},
    will::Will,
    window::Acknowledged,
};
use super::owed::Portion;
use crate::{
    journal::{BatchBuilder, Record, StateChange},
    types::Qos,
};

const CONNECT: u8 = 1;
const DISCONNECT: u8 = 2;
const END: u8 = 3;
const SUBSCRIBE: u8 = 4;
const UNSUBSCRIBE: u8 = 5;
const RELEASE: u8 = 6;
const ACKNOWLEDGE: u8 = 7;
const RECEIVE: u8 = 8;
const CLOSE: u8 = 9;
const OPEN: u8 = 10;
/// [`CONNECT`] of a client with an account.
const CONNECT_AS: u8 = 11;
const DROP_WILL: u8 = 12;
/// [`SUBSCRIBE`] that gets retained messages portion by portion.
const SUBSCRIBE_PACED: u8 = 13;
const MORE: u8 = 14;

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// A change of one session.
#[derive(Debug, PartialEq)]
pub enum Change<'a> {
    /// A client has connected: to a session that there was, or to a new one, which ends any other of
    /// the same client identifier.
    Connect {
        /// Whose session.
        client_id: &'a str,
        /// Its account, to which the session belongs; none where it has none, or where an earlier version,
        /// which did not tell, has written the record.
        user: Option<&'a str>,
        /// Seconds it outlives the connection; 0xFFFF_FFFF for ever.
        expiry: u32,
        /// Messages that may be in flight towards the client.
        receive_maximum: u16,
        /// Published if the connection ends without a word.
        will: Option<Will>,
    },
    /// The connection has ended.
    Disconnect {
        /// As the client's DISCONNECT may have changed it.
        expiry: u32,
        /// Whether the will waits for its delay; else it is void, or was published.
        will_pending: bool,
        /// Messages from this number on were never sent.
        sent: u64,
    },
    /// The session is over.
    End,
    /// The client has subscribed.
    Subscribe {
        /// Sent along with every message; 0 for none.
        identifier: u32,
        /// What each gets of the retained messages at once, with QoS 1 and 2; none where an earlier version, which
        /// queued all that did fit, has written the record.
        at_once: Option<Portion>,
        /// What was granted.
        subscriptions: Vec<Subscription<'a>>,
    },
    /// The client has unsubscribed.
    Unsubscribe {
        /// Valid filters, with or without a subscription.
        filters: Vec<&'a str>,
    },
    /// PUBREL: a QoS 2 packet identifier is free again (section 4.3.3).
    Release {
        /// The identifier that was held.
        packet_id: u16,
    },
    /// The client has acknowledged messages.
    Acknowledge(Acknowledged),
    /// PUBREC: the client has received a QoS 2 message.
    Receive {
        /// The message's number.
        number: u64,
    },
    /// The queue is full: of what the record `at` brought, and of all that follows, nothing more is
    /// queued until [`Change::Open`]. Comes behind that record, and counts from there.
    Close {
        /// A publication, or a subscription with its retained messages.
        at: u64,
        /// Messages of it that did fit.
        kept: u64,
    },
    /// The queue has room again.
    Open,
    /// A subscription gets the next portion of the retained messages that it is owed.
    More {
        /// Its filter.
        filter: &'a str,
        /// As much.
        portion: Portion,
    },
    /// A will that was due is void: its client may not publish there any more.
    DropWill,
}

impl Change<'_> {
    /// Adds the record of this change of `session`. `guaranteed` where somebody waits for it.
    pub fn record(&self, session: SessionId, guaranteed: bool, batch: &mut BatchBuilder) {
        let mut body = Vec::with_capacity(32);
        self.encode(session, &mut body);
        batch.push(&Record::State(StateChange::new(&body, guaranteed)));
    }

    fn encode(&self, session: SessionId, out: &mut Vec<u8>) {
        out.push(self.kind());
        write_varint(out, session.0);
        match self {
            Self::Connect { client_id, user, expiry, receive_maximum, will } => {
                write_bytes(out, client_id.as_bytes());
                if let Some(user) = user {
                    write_bytes(out, user.as_bytes());
                }
                write_varint(out, u64::from(*expiry));
                write_varint(out, u64::from(*receive_maximum));
                if let Some(will) = will {
                    will.write(out);
                }
            }
            Self::Disconnect { expiry, will_pending, sent } => {
                write_varint(out, u64::from(*expiry));
                out.push(u8::from(*will_pending));
                write_varint(out, *sent);
            }
            Self::End | Self::Open | Self::DropWill => {}
            Self::Subscribe { identifier, at_once, subscriptions } => {
                write_varint(out, u64::from(*identifier));
                if let Some(portion) = at_once {
                    portion.write(out);
                }
                for subscription in subscriptions {
                    out.push(options_byte(subscription));
                    write_bytes(out, subscription.filter.as_bytes());
                }
            }
            Self::Unsubscribe { filters } => filters.iter().for_each(|filter| write_bytes(out, filter.as_bytes())),
            Self::Release { packet_id } => write_varint(out, u64::from(*packet_id)),
            Self::Acknowledge(acknowledged) => acknowledged.write(out),
            Self::Receive { number } => write_varint(out, *number),
            Self::Close { at, kept } => {
                write_varint(out, *at);
                write_varint(out, *kept);
            }
            Self::More { filter, portion } => {
                portion.write(out);
                write_bytes(out, filter.as_bytes());
            }
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Connect { user: None, .. } => CONNECT,
            Self::Connect { user: Some(_), .. } => CONNECT_AS,
            Self::Disconnect { .. } => DISCONNECT,
            Self::End => END,
            Self::Subscribe { at_once: None, .. } => SUBSCRIBE,
            Self::Subscribe { at_once: Some(_), .. } => SUBSCRIBE_PACED,
            Self::Unsubscribe { .. } => UNSUBSCRIBE,
            Self::Release { .. } => RELEASE,
            Self::Acknowledge(_) => ACKNOWLEDGE,
            Self::Receive { .. } => RECEIVE,
            Self::Close { .. } => CLOSE,
            Self::Open => OPEN,
            Self::DropWill => DROP_WILL,
            Self::More { .. } => MORE,
        }
    }
}

/// Reads the body of a state change; none if this version did not write it.
pub fn decode(mut body: &[u8]) -> Option<(SessionId, Change<'_>)> {
    let from = &mut body;
    let (&kind, rest) = from.split_first()?;
    *from = rest;
    let session = SessionId(read_varint(from)?);
    let change = match kind {
        CONNECT | CONNECT_AS => Change::Connect {
            client_id: read_str(from)?,
            user: if kind == CONNECT_AS { Some(read_str(from)?) } else { None },
            expiry: u32::try_from(read_varint(from)?).ok()?,
            receive_maximum: u16::try_from(read_varint(from)?).ok()?,
            will: if from.is_empty() { None } else { Some(Will::read(from)?) },
        },
        DISCONNECT => Change::Disconnect {
            expiry: u32::try_from(read_varint(from)?).ok()?,
            will_pending: read_varint(from)? != 0,
            sent: read_varint(from)?,
        },
        END => Change::End,
        SUBSCRIBE | SUBSCRIBE_PACED => Change::Subscribe {
            identifier: u32::try_from(read_varint(from)?).ok()?,
            at_once: if kind == SUBSCRIBE_PACED { Some(Portion::read(from)?) } else { None },
            subscriptions: read_all(from, read_subscription)?,
        },
        UNSUBSCRIBE => Change::Unsubscribe { filters: read_all(from, read_str)? },
        RELEASE => Change::Release { packet_id: u16::try_from(read_varint(from)?).ok()? },
        ACKNOWLEDGE => Change::Acknowledge(Acknowledged::read(from)?),
        RECEIVE => Change::Receive { number: read_varint(from)? },
        CLOSE => Change::Close { at: read_varint(from)?, kept: read_varint(from)? },
        OPEN => Change::Open,
        DROP_WILL => Change::DropWill,
        MORE => {
            let portion = Portion::read(from)?;
            Change::More { filter: read_str(from)?, portion }
        }
        _ => return None,
    };
    from.is_empty().then_some((session, change))
}

/// What the body of a state change says, written anew; none if this version did not write it. For
/// the fuzz targets.
#[must_use]
pub fn rewrite(body: &[u8]) -> Option<Vec<u8>> {
    let (session, change) = decode(body)?;
    let mut out = Vec::new();
    change.encode(session, &mut out);
    Some(out)
}

fn read_all<'a, T>(from: &mut &'a [u8], read: impl Fn(&mut &'a [u8]) -> Option<T>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    while !from.is_empty() {
        all.push(read(from)?);
    }
    Some(all)
}

fn read_subscription<'a>(from: &mut &'a [u8]) -> Option<Subscription<'a>> {
    let (&options, rest) = from.split_first()?;
    *from = rest;
    subscription(read_str(from)?, options)
}

/// The options of a subscription in one byte, as SUBSCRIBE has them.
pub fn options_byte(subscription: &Subscription<'_>) -> u8 {
    u8::from(subscription.maximum_qos)
        | if subscription.no_local { NO_LOCAL } else { 0 }
        | if subscription.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
        | (subscription.retain_handling as u8) << 4
}

/// A subscription from its filter and [`options_byte`].
pub fn subscription(filter: &str, options: u8) -> Option<Subscription<'_>> {
    Some(Subscription {
        filter,
        maximum_qos: Qos::try_from(options & 0b11).ok()?,
        no_local: options & NO_LOCAL != 0,
        retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
        retain_handling: match options >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        },
    })
}

impl Acknowledged {
    /// The same with the ledger's numbers.
    #[must_use]
    pub fn on_record(self, number: impl Fn(u64) -> u64) -> Self {
        // Of those that it does not have, all come to the same number.
        let has = |&unacknowledged: &u64| number(unacknowledged + 1) > number(unacknowledged);
        Self { below: number(self.below), beyond: self.beyond.into_iter().filter(has).map(&number).collect() }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.below);
        write_varint(out, self.beyond.len() as u64);
        let mut before = self.below;
        for &number in &self.beyond {
            write_varint(out, number - before);
            before = number;
        }
    }

    pub(super) fn read(from: &mut &[u8]) -> Option<Self> {
        let below = read_varint(from)?;
        let count = read_varint(from)?;
        let mut before = below;
        let mut beyond = Vec::new();
        for _ in 0..count {
            before = before.checked_add(read_varint(from)?)?;
            beyond.push(before);
        }
        Some(Self { below, beyond })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_comes_back() {
        let subscription = Subscription {
            no_local: true,
            retain_handling: RetainHandling::SendIfNew,
            ..Subscription::new("a/+/#", Qos::ExactlyOnce)
        };
        let plain = Subscription { retain_as_published: true, ..Subscription::new("$share/g/b", Qos::AtMostOnce) };
        let portion = Portion { messages: 1_000, bytes: 64 << 20 };
        for change in [
            Change::Connect { client_id: "pump", user: None, expiry: u32::MAX, receive_maximum: 9, will: None },
            Change::Connect {
                client_id: "pump",
                user: Some("anna"),
                expiry: 0,
                receive_maximum: 65_535,
                will: Some(Will::example()),
            },
            Change::Disconnect { expiry: 60, will_pending: true, sent: 1 << 40 },
            Change::End,
            Change::Subscribe { identifier: 268_435_455, at_once: None, subscriptions: vec![subscription, plain] },
            Change::Subscribe { identifier: 0, at_once: Some(portion), subscriptions: vec![plain] },
            Change::More { filter: "a/#", portion },
            Change::Unsubscribe { filters: vec!["a", "b/#"] },
            Change::Release { packet_id: 7 },
            Change::Acknowledge(Acknowledged { below: 70_000, beyond: vec![70_003, 80_000] }),
            Change::Receive { number: 5 },
            Change::Close { at: 99, kept: 3 },
            Change::Open,
            Change::DropWill,
        ] {
            let mut body = Vec::new();
            change.encode(SessionId(300), &mut body);
            assert_eq!(decode(&body), Some((SessionId(300), change)));
            assert_eq!(rewrite(&body), Some(body));
        }
    }

    #[test]
    fn a_connect_of_an_earlier_version_is_one_without_an_account() {
        let body = [1, 7, 4, b'p', b'u', b'm', b'p', 60, 9];
        let change = Change::Connect { client_id: "pump", user: None, expiry: 60, receive_maximum: 9, will: None };
        assert_eq!(decode(&body), Some((SessionId(7), change)));
    }

    #[test]
    fn what_another_version_wrote_is_not_guessed_at() {
        let mut body = Vec::new();
        Change::Release { packet_id: 7 }.encode(SessionId(1), &mut body);
        assert!(decode(&[body.as_slice(), &[0]].concat()).is_none(), "more than it should be");
        assert!(decode(&body[..2]).is_none());
        assert!(decode(&[99, 1]).is_none());
    }
}
