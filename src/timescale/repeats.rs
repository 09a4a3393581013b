//! Messages that a device sent twice, told by a key of its own.
//!
//! `mqtt.message_keys` has the first event of each key, written in the transaction that stores the
//! event. An event is a repeat if another one with its key was received less than its window before;
//! time is the journal's, so that a batch that is stored again decides as before: the first event
//! finds itself, the repeats find the first. A key is forgotten when its window is over.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::Part;
use crate::types::{MessageKey, Micros};

/// Rows of a part that are repeats, by their place in the batch, rising.
pub async fn find(connection: &mut PgConnection, part: Part<'_>) -> Result<Vec<usize>, sqlx::Error> {
    let keyed: Vec<_> = part.keyed().collect();
    let Some((.., last)) = keyed.last() else { return Ok(Vec::new()) };
    let now = last.received;
    let keys: Vec<_> = keyed.iter().map(|(.., message)| message.key).collect();
    // Those that are over count no more, whether or not they are deleted yet.
    let found: Vec<(Uuid, Uuid, i64)> =
        sqlx::query_as("select key, event, received from mqtt.message_keys where key = any($1)")
            .bind(&keys)
            .fetch_all(&mut *connection)
            .await?;
    let mut first: HashMap<_, _> =
        found.into_iter().map(|(key, event, received)| (key, (event, Micros::saturating(received)))).collect();
    let (mut repeats, mut new) = (Vec::new(), HashMap::new());
    for (row, event, message) in keyed {
        match first.get(&message.key) {
            Some((known, _)) if *known == event => {}
            Some((_, received)) if is_within(message, *received) => repeats.push(row),
            _ => {
                first.insert(message.key, (event, message.received));
                new.insert(message.key, (event, message));
            }
        }
    }
    remember(&mut *connection, &new).await?;
    sqlx::query("delete from mqtt.message_keys where until <= $1").bind(now.get()).execute(connection).await?;
    Ok(repeats)
}

fn is_within(message: MessageKey, first: Micros) -> bool {
    message.received.get().abs_diff(first.get()) < message.window.unsigned_abs()
}

async fn remember(connection: &mut PgConnection, new: &HashMap<Uuid, (Uuid, MessageKey)>) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    // In one order, so that bridges that share the database do not wait for each other in a circle.
    let mut new: Vec<_> = new.values().collect();
    new.sort_unstable_by_key(|(_, message)| message.key);
    let column = |value: fn(&MessageKey) -> i64| new.iter().map(|(_, message)| value(message)).collect::<Vec<_>>();
    sqlx::query(
        "insert into mqtt.message_keys (key, event, received, until)
         select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
         on conflict (key) do update
         set event = excluded.event, received = excluded.received, until = excluded.until",
    )
    .bind(new.iter().map(|(_, message)| message.key).collect::<Vec<_>>())
    .bind(new.iter().map(|(event, _)| *event).collect::<Vec<_>>())
    .bind(column(|message| message.received.get()))
    .bind(column(|message| message.received.get().saturating_add(message.window)))
    .execute(connection)
    .await?;
    Ok(())
}
