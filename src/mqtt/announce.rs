//! Devices that come and go, put on record (docs/decisions/0015-presence.md).
//!
//! A client that is a device has a record of its coming in the append of its CONNECT, and one of its going in that of
//! the end of its connection. Nobody waits for either: they are on disk when their events are shown. A full journal
//! takes what is told of the coming later; until it is known whether it must, the append has it.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    codec::{Connect, ReasonCode},
    directory::version_name,
    end::End,
};
use crate::{
    journal::{Batch, BatchBuilder, Outcome, Record},
    types::{ClientId, Micros, Peer, Presence, PresenceChange, Sequence, write_json_string},
};

/// Why a connection is closed that was open when the bridge ended without a word.
pub const RESTART: &str = "bridge-restart";

/// How a client has come in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where from.
    pub peer: Peer,
    /// What carries MQTT, as URLs name it: `mqtt`, `mqtts`, `ws` or `wss`.
    pub transport: &'static str,
}

/// What is told of the coming of a client that is a device, and is not on record.
#[derive(Debug)]
pub struct Untold(String);

impl Untold {
    /// These details.
    #[must_use]
    pub const fn new(details: String) -> Self {
        Self(details)
    }

    /// What an append that was refused has told, if anything.
    #[must_use]
    pub fn of(refused: &Batch) -> Option<Box<Self>> {
        refused.after(Sequence::ZERO).find_map(|record| match record {
            Record::Presence(presence) => Some(Box::new(Self(presence.details.to_owned()))),
            _ => None,
        })
    }

    /// Adds the record, as the last of a batch.
    pub fn open(&self, client_id: &ClientId, device: &str, batch: &mut BatchBuilder) {
        record(client_id.as_str(), device, PresenceChange::Opened, &self.0, batch);
    }
}

/// A connection of a client that is a device, whose coming is on record or on its way there: by that record, and when
/// it was made.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    opened: NonZeroU64,
    since: Micros,
}

impl Announced {
    /// By the last record of this batch.
    #[must_use]
    pub fn by(batch: &Batch) -> Option<Self> {
        Some(Self { opened: NonZeroU64::new(batch.last().0)?, since: batch.received() })
    }
}

/// The end of a connection that was announced.
#[derive(Debug)]
pub struct Ending {
    announced: Announced,
    reason: &'static str,
    details: String,
    /// The append with its opening, where that was on its way to the disk.
    opening: Option<Arc<Batch>>,
}

impl Ending {
    /// Of a connection that ends for this reason.
    #[must_use]
    pub fn new(announced: Announced, end: &End, opening: Option<Arc<Batch>>) -> Self {
        Self { announced, reason: end.word(), details: details_of(end), opening }
    }

    /// Adds the record, unless that of the opening was refused.
    pub fn close(&self, client_id: &ClientId, device: &str, batch: &mut BatchBuilder) {
        if !self.is_void() {
            let Announced { opened, since } = self.announced;
            let change = PresenceChange::Closed { opened: Sequence(opened.get()), since, reason: self.reason };
            record(client_id.as_str(), device, change, &self.details, batch);
        }
    }

    /// Whether nobody has been told that it was open.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.opening.as_ref().is_some_and(|batch| matches!(batch.outcome(), Outcome::Refused | Outcome::Failed))
    }
}

/// Adds a record of presence.
pub fn record(client_id: &str, device: &str, change: PresenceChange<'_>, details: &str, batch: &mut BatchBuilder) {
    let (sequence, received) = (Sequence::ZERO, Micros::default());
    batch.push(&Record::Presence(Presence { sequence, received, client_id, device, change, details }));
}

/// What is told of a client that has come.
pub fn details(
    connect: &Connect<'_>,
    keep_alive: u16,
    expiry: u32,
    resumed: bool,
    user: Option<&str>,
    arrival: Arrival,
) -> String {
    let Arrival { peer, transport } = arrival;
    let version = version_name(connect.version);
    // 3.1.1 has clean session for it.
    let clean_start = connect.clean_start;
    let expiry = if expiry == u32::MAX { "null".to_owned() } else { expiry.to_string() };
    let user = user.map(|user| format!(",\"user\":{}", json_string(user))).unwrap_or_default();
    format!(
        "\"protocolVersion\":\"{version}\",\"cleanStart\":{clean_start},\"sessionPresent\":{resumed},\
         \"sessionExpiry\":{expiry},\"keepAlive\":{keep_alive},\"transport\":\"{transport}\",\"address\":\"{peer}\"{user}"
    )
}

/// What is told of a connection's end beside the word for it.
fn details_of(end: &End) -> String {
    let code = match end {
        End::Disconnected => Some(ReasonCode::NORMAL_DISCONNECTION),
        End::DisconnectedWithWill => Some(ReasonCode::DisconnectWithWillMessage),
        end => end.reason(),
    };
    let code = code.map(|code| format!(",\"reasonCode\":{}", code as u8)).unwrap_or_default();
    format!("\"message\":{}{code}", json_string(&end.to_string()))
}

fn json_string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_json_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn members(details: &str) -> Value {
        serde_json::from_str(&format!("{{{details}}}")).unwrap()
    }

    #[test]
    fn the_end_of_a_connection_is_told_in_words_and_codes() {
        let told = |end: &End| (end.word(), members(&details_of(end)));
        assert_eq!(
            told(&End::Disconnected),
            ("disconnect", json!({"message": "the client disconnected", "reasonCode": 0}))
        );
        let (word, why) = told(&End::Io(std::io::Error::other("\"odd\"")));
        assert_eq!((word, &why["message"]), ("connection-lost", &json!("the connection failed: \"odd\"")));
        let (word, why) = told(&End::Forbidden(ReasonCode::NotAuthorized, "no"));
        assert_eq!((word, &why["reasonCode"]), ("not-authorized", &json!(0x87)));
        assert_eq!(told(&End::KeepAlive).1["reasonCode"], 0x8D);
    }
}
