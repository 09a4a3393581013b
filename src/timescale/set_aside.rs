//! Puts an event that the table refused among the dead letters: a message, or that a device has come or gone.
//!
//! Rows say too little to map the event anew, so the journal is asked for its record once more. It has it: the
//! writer's cursor holds retention. Where the disk has lost it since, the log says which event is missing.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::{error::WriteError, store::Origin};
use crate::{
    journal::{ReadError, Record, Slice, Step, Watermark},
    types::{Micros, Presence, PresenceChange, Publication, PublishProperties, Qos, Sequence, SynapEvent},
};

/// What an event is made of that tells of a device, as a letter keeps it; the rest is in columns of its own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPresence {
    /// The device.
    pub device: String,
    details: String,
    /// Of a connection that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed: Option<KeptEnd>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptEnd {
    opened: u64,
    since: i64,
    reason: String,
}

impl KeptPresence {
    fn of(presence: &Presence<'_>) -> Self {
        let closed = match presence.change {
            PresenceChange::Opened => None,
            PresenceChange::Closed { opened, since, reason } => {
                Some(KeptEnd { opened: opened.0, since: since.get(), reason: reason.to_owned() })
            }
        };
        Self { device: presence.device.to_owned(), details: presence.details.to_owned(), closed }
    }

    /// The record that it was kept of.
    pub fn presence<'a>(&'a self, sequence: Sequence, received: Micros, client_id: &'a str) -> Presence<'a> {
        let change = match &self.closed {
            None => PresenceChange::Opened,
            Some(KeptEnd { opened, since, reason }) => {
                PresenceChange::Closed { opened: Sequence(*opened), since: Micros::saturating(*since), reason }
            }
        };
        Presence { sequence, received, client_id, device: &self.device, change, details: &self.details }
    }
}

/// Keeps the event of a record whose row the table refused.
pub async fn set_aside(
    connection: &mut PgConnection,
    origin: &Origin,
    sequence: Sequence,
    reason: &sqlx::Error,
) -> Result<(), WriteError> {
    let slice = find(origin, sequence).await?;
    match slice.as_ref().and_then(|slice| slice.batch().find(sequence)) {
        Some(Record::Publication { publication, .. }) => {
            let event = origin.mapper.map(&publication);
            tracing::warn!(%sequence, topic = publication.topic, %reason, "the table refused an event; it is in mqtt.dead_letters");
            keep(connection, origin, &publication, None, &event, reason).await
        }
        Some(Record::Presence(presence)) => {
            let event = origin.mapper.announce(&presence);
            let (device, event_type) = (presence.device, &*event.event_type);
            tracing::warn!(%sequence, device, event_type, %reason, "the table refused an event; it is in mqtt.dead_letters");
            keep(connection, origin, &without_message(&presence), Some(&KeptPresence::of(&presence)), &event, reason)
                .await
        }
        Some(Record::Command(command)) => {
            // A letter is a message, or a device's coming or going, that can be mapped anew.
            let (device, id) = (command.device, command.id);
            tracing::error!(%sequence, device, command = %id, %reason, "the table refused an event of a command, and does not have it");
            Ok(())
        }
        Some(Record::State(_) | Record::Event(_) | Record::Mark { .. }) | None => {
            tracing::error!(%sequence, %reason, "the table refused an event, and the journal does not have it any more");
            Ok(())
        }
    }
}

/// The slice with a record, if it can still be read.
async fn find(origin: &Origin, sequence: Sequence) -> Result<Option<Slice>, ReadError> {
    let mut reader = origin.journal.reader(sequence.previous(), Watermark::Durable);
    loop {
        match reader.step() {
            Step::Slice(slice) => return Ok(Some(slice)),
            Step::Disk => match reader.read_disk_async().await {
                Ok(Some(slice)) => return Ok(Some(slice)),
                Ok(None) => {}
                Err(error) if error.is_loss() => return Ok(None),
                Err(error) => return Err(error),
            },
            Step::CaughtUp => return Ok(None),
        }
    }
}

/// What a letter has of a message, where there is none.
fn without_message<'a>(presence: &Presence<'a>) -> Publication<'a> {
    Publication {
        sequence: presence.sequence,
        received: presence.received,
        topic: "",
        payload: &[],
        qos: Qos::AtLeastOnce,
        retain: false,
        guaranteed: true,
        client_id: presence.client_id,
        properties: PublishProperties::default(),
    }
}

async fn keep(
    connection: &mut PgConnection,
    origin: &Origin,
    publication: &Publication<'_>,
    presence: Option<&KeptPresence>,
    event: &SynapEvent<'_>,
    reason: &sqlx::Error,
) -> Result<(), WriteError> {
    let mut json = Vec::new();
    event.write_json(&mut json);
    sqlx::query(
        "insert into mqtt.dead_letters (journal, sequence, received_at, topic, client_id, payload, reason, event, qos,
             retain, guaranteed, properties, presence)
         values ($1, $2, $3::text::timestamptz, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict do nothing",
    )
    .bind(origin.journal.id())
    .bind(publication.sequence.0.cast_signed())
    .bind(publication.received.to_string())
    .bind(publication.topic)
    .bind(publication.client_id)
    .bind(publication.payload)
    .bind(reason.to_string())
    .bind(String::from_utf8_lossy(&json))
    .bind(i16::from(u8::from(publication.qos)))
    .bind(publication.retain)
    .bind(publication.guaranteed)
    .bind(publication.properties.as_bytes())
    // Members of ours, which are always written.
    .bind(presence.and_then(|presence| serde_json::to_string(presence).ok()))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_gives_back_the_record_that_it_was_kept_of() {
        let received = Micros::saturating(1_769_860_890_500_001);
        let closed = PresenceChange::Closed { opened: Sequence(9), since: Micros::saturating(7), reason: "disconnect" };
        for (change, details) in [(PresenceChange::Opened, "\"keepAlive\":60"), (closed, "")] {
            let presence = Presence {
                sequence: Sequence(12),
                received,
                client_id: "sensor-\"7\"",
                device: "\"7\"",
                change,
                details,
            };
            let text = serde_json::to_string(&KeptPresence::of(&presence)).unwrap();
            let kept: KeptPresence = serde_json::from_str(&text).unwrap();
            assert_eq!(kept.presence(Sequence(12), received, "sensor-\"7\""), presence, "{text}");
        }
    }
}
