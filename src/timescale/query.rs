//! `GET /api/events` from the table, by keyset, in either direction.

use std::sync::Arc;

use futures_util::TryStreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{Connection, PgConnection, Postgres, QueryBuilder, Row, pool::PoolConnection, postgres::PgRow};
use uuid::Uuid;

use super::{
    error::{WriteError, within},
    inspect::inspect,
    layout::SubjectId,
    readers::Readers,
    schema::{EventsTable, is_there, resolve},
    series,
    settings::Settings,
};
use crate::{
    limits,
    types::{Bucket, EventPage, EventQuery, Micros, Order, SeriesQuery, TopicFilter, Topics, subject_id},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is not one that a page has given.
    #[error("the cursor is not one that an earlier page has given")]
    Cursor,
    /// The database is away, too slow, or refused.
    #[error("the database does not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// There is no session with it, or it does not have the table.
    #[error("the database cannot be asked: {0}")]
    Session(#[source] WriteError),
    /// A row holds what no event can.
    #[error("an event in the table cannot be shown: {0}")]
    Row(#[from] serde_json::Error),
}

/// Reads events. Connects when first asked, apart from the writer's connection.
#[derive(Clone)]
pub struct EventStore {
    readers: Readers,
}

/// An event in the shape and field order of the pod's stream.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamedEvent<'a> {
    id: Uuid,
    r#type: &'a str,
    timestamp: String,
    user_id: &'a str,
    subject_id: &'a str,
    subject_type: &'a str,
    data: &'a RawValue,
    metadata: Option<&'a RawValue>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    source: Option<&'a str>,
    version: &'static str,
}

impl EventStore {
    /// A store in the writer's database.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { readers: Readers::new(settings) }
    }

    /// One page of events, by time; of events at the same microsecond, by id. Ends early where its
    /// JSON gets long.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, QueryError> {
        let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
        let (mut session, table) = self.session().await?;
        let found = page(&mut session, &table, query, after).await;
        found.inspect_err(|error| self.readers.failed(error))
    }

    /// Hands every event over that the query asks for, as JSON, whatever its limit and cursor. One statement with a
    /// session of its own, so all of them are of one moment, and any number costs the memory of a few.
    ///
    /// # Errors
    /// As `take` says, and [`QueryError`].
    pub async fn each<E: From<QueryError>>(
        settings: &Settings,
        query: &EventQuery,
        mut take: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut session, table) = open(settings).await.map_err(QueryError::Session)?;
        let mut sql = select(&table, query, None);
        let mut rows = sql.build().fetch(&mut session);
        while let Some(row) = rows.try_next().await.map_err(QueryError::from)? {
            take(&event_json(&row)?)?;
        }
        drop(rows);
        // All is here: how the session ends is no matter.
        let _ended = session.close().await;
        Ok(())
    }

    /// One metric over time: the buckets that have a value.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn series(&self, query: &SeriesQuery) -> Result<Vec<Bucket>, QueryError> {
        let (mut session, table) = self.session().await?;
        let found = series::buckets(&mut session, &table, query).await;
        found.inspect_err(|error| self.readers.failed(error))
    }

    /// The event with this id, as JSON.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn event(&self, id: Uuid) -> Result<Option<String>, QueryError> {
        let (mut session, table) = self.session().await?;
        let mut sql = select_from(&table);
        sql.push(" and id = ").push_bind(id).push(" limit 1");
        let found = sql.build().fetch_optional(&mut *session).await.map_err(QueryError::from);
        let row = found.inspect_err(|error| self.readers.failed(error))?;
        row.as_ref().map(event_json).transpose()
    }

    /// A session, and the table to ask.
    pub(super) async fn session(&self) -> Result<(PoolConnection<Postgres>, Arc<EventsTable>), QueryError> {
        self.readers.session().await.map_err(QueryError::Session)
    }
}

/// A session without a limit of time, and the table.
async fn open(settings: &Settings) -> Result<(PgConnection, EventsTable), WriteError> {
    let mut session = within(limits::TIMESCALE_CONNECT_TIMEOUT, settings.connect()).await?;
    let name = resolve(&mut session, settings.table.as_deref()).await?;
    if !is_there(&mut session, &name).await? {
        return Err(WriteError::Unprepared);
    }
    let table = inspect(&mut session, &name).await?;
    Ok((session, table))
}

async fn page(
    session: &mut PgConnection,
    table: &EventsTable,
    query: &EventQuery,
    after: Option<(i64, Uuid)>,
) -> Result<EventPage, QueryError> {
    let mut sql = select(table, query, after);
    // One row more than wanted tells whether there is a next page.
    sql.push(" limit ").push_bind(i64::from(query.limit) + 1);
    let mut rows = sql.build().fetch(session);
    let (mut page, mut bytes, mut last) = (EventPage::default(), 0, None);
    while let Some(row) = rows.try_next().await? {
        if page.events.len() >= usize::from(query.limit) || bytes >= limits::EVENTS_PAGE_BYTES {
            page.next_cursor = last;
            break;
        }
        let json = event_json(&row)?;
        bytes += json.len();
        page.events.push(json);
        last = Some(format!("{}_{}", row.try_get::<i64, _>("micros")?, row.try_get::<Uuid, _>("id")?.simple()));
    }
    Ok(page)
}

/// The position of a row: its time as [`TIME`] has it, which may be beyond what an event can show, and its id.
fn parse_cursor(text: &str) -> Result<(i64, Uuid), QueryError> {
    let parse = || {
        let (micros, id) = text.split_once('_')?;
        let micros = micros.parse().ok().filter(|micros| *micros >= FIRST_TIME || *micros == i64::MIN)?;
        Some((micros, Uuid::try_parse(id).ok()?))
    };
    parse().ok_or(QueryError::Cursor)
}

/// A time in microseconds and a UUID.
pub(super) fn parse_position(text: &str) -> Option<(Micros, Uuid)> {
    let (micros, id) = text.split_once('_')?;
    Some((Micros::new(micros.parse().ok()?).ok()?, Uuid::try_parse(id).ok()?))
}

/// A row's time in microseconds; what is infinite, or too far to be counted so, is the last or first number. Others
/// write such times, and a page with one of them must still be a page.
const TIME: &str = "greatest(least(extract(epoch from timestamp) * 1000000, 9223372036854775807),
         -9223372036854775808)::int8";

/// PostgreSQL has no time before 4714-11-24 BC, in microseconds.
const FIRST_TIME: i64 = -210_866_803_200_000_000;

/// A time that was read as [`TIME`], exactly: pages would else repeat or leave out rows.
fn push_time(sql: &mut QueryBuilder<Postgres>, micros: i64) {
    const DAY: i64 = 86_400_000_000;
    match micros {
        i64::MAX => sql.push("'infinity'::timestamptz"),
        i64::MIN => sql.push("'-infinity'::timestamptz"),
        _ => {
            let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
            let (seconds, rest) = (rest / 1_000_000, rest % 1_000_000);
            sql.push("((timestamp 'epoch' + ").push_bind(format!("{days} days {seconds} seconds {rest} microseconds"));
            sql.push("::interval) at time zone 'UTC')")
        }
    };
}

fn select_from(table: &EventsTable) -> QueryBuilder<Postgres> {
    // A table that the pod has made may have nulls where an event has none; the stream shows them as empty too.
    let mut sql = QueryBuilder::new("select id, ");
    sql.push(TIME).push(
        " as micros, coalesce(type, '') as type, coalesce(subject_id::text, '') as subject_id,
         coalesce(subject_type, '') as subject_type, coalesce(data::text, 'null') as data, metadata::text as metadata,
         source, correlation_id, coalesce(user_id, '') as user_id from ",
    );
    sql.push(table.layout.relation(&table.name)).push(" where id is not null and timestamp is not null");
    sql
}

/// The condition that events are of a subject; no other text than a UUID is one where the table has UUIDs.
fn push_subject(sql: &mut QueryBuilder<Postgres>, table: &EventsTable, subject: &str) {
    match table.layout.subject_id {
        SubjectId::Text => sql.push(" and subject_id = ").push_bind(subject.to_owned()),
        SubjectId::Uuid => match Uuid::try_parse(subject) {
            Ok(id) => sql.push(" and subject_id = ").push_bind(id),
            Err(_) => sql.push(" and false"),
        },
    };
}

/// Times go as text: what `sqlx` has for them needs another library of calendars.
fn select(table: &EventsTable, query: &EventQuery, after: Option<(i64, Uuid)>) -> QueryBuilder<Postgres> {
    let mut sql = select_from(table);
    if let Some(event_type) = &query.event_type {
        sql.push(" and type = ").push_bind(event_type.clone());
    }
    if let Some(device) = &query.device {
        // By the subject's index; the mapping names no device that is not the subject.
        sql.push(" and subject_type = 'device'");
        push_subject(&mut sql, table, &subject_id(device).to_string());
    }
    if let Some(topic) = &query.topic {
        let (operator, operand) = topic_condition(topic);
        sql.push(" and metadata->>'topic' ").push(operator).push(" ").push_bind(operand);
    }
    push_within(&mut sql, &query.within);
    if let Some(subject) = &query.subject {
        push_subject(&mut sql, table, subject);
    }
    if let Some(correlation) = query.correlation {
        sql.push(" and correlation_id = ").push_bind(correlation);
    }
    let (beyond, direction) = match query.order {
        Order::NewestFirst => ("<", "desc"),
        Order::OldestFirst => (">", "asc"),
    };
    for (operator, time) in [(">=", query.from), ("<", query.to)] {
        if let Some(time) = time {
            sql.push(" and timestamp ").push(operator).push(" ").push_bind(time.to_string()).push("::timestamptz");
        }
    }
    if let Some((time, id)) = after {
        // The time by itself as well: only by that are chunks left out.
        sql.push(" and timestamp ").push(beyond).push("= ");
        push_time(&mut sql, time);
        sql.push(" and (timestamp, id) ").push(beyond).push(" (");
        push_time(&mut sql, time);
        sql.push(", ").push_bind(id).push(")");
    }
    sql.push(format!(" order by timestamp {direction}, id {direction}"));
    sql
}

/// The condition that whoever asks may see an event.
fn push_within(sql: &mut QueryBuilder<Postgres>, within: &Topics) {
    let Topics::Of(filters) = within else { return };
    sql.push(" and (false");
    for (operator, operand) in filters.iter().map(topic_condition) {
        sql.push(" or metadata->>'topic' ").push(operator).push(" ").push_bind(operand);
    }
    sql.push(")");
}

/// The filter as an operator and operand of SQL, with the meaning of [`TopicFilter::matches`].
fn topic_condition(filter: &TopicFilter) -> (&'static str, String) {
    let text = filter.as_str();
    if !text.contains(['+', '#']) {
        return ("=", text.into());
    }
    let mut pattern = String::from(if text.starts_with(['+', '#']) { r"^(?!\$)" } else { "^" });
    for (index, level) in filter.levels().enumerate() {
        let slash = if index == 0 { "" } else { "/" };
        match level {
            "#" if index == 0 => pattern.push_str(".*"),
            "#" => pattern.push_str("(/.*)?"),
            "+" => pattern.extend([slash, "[^/]*"]),
            _ => {
                pattern.push_str(slash);
                for character in level.chars() {
                    if character.is_ascii_punctuation() {
                        pattern.push('\\');
                    }
                    pattern.push(character);
                }
            }
        }
    }
    pattern.push('$');
    ("~", pattern)
}

fn micros(row: &PgRow) -> Result<Micros, sqlx::Error> {
    Ok(Micros::saturating(row.try_get("micros")?))
}

fn event_json(row: &PgRow) -> Result<String, QueryError> {
    let metadata: Option<&str> = row.try_get("metadata")?;
    Ok(serde_json::to_string(&StreamedEvent {
        id: row.try_get("id")?,
        r#type: row.try_get("type")?,
        timestamp: micros(row)?.to_string(),
        user_id: row.try_get("user_id")?,
        subject_id: row.try_get("subject_id")?,
        subject_type: row.try_get("subject_type")?,
        data: serde_json::from_str(row.try_get("data")?)?,
        metadata: metadata.map(serde_json::from_str).transpose()?,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: None,
        source: row.try_get("source")?,
        version: "v1",
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_escaped_patterns() {
        for (filter, operator, operand) in [
            ("devices/pump.7/telemetry", "=", "devices/pump.7/telemetry"),
            ("devices/+/tele.metry", "~", r"^devices/[^/]*/tele\.metry$"),
            ("a/#", "~", "^a(/.*)?$"),
            ("#", "~", r"^(?!\$).*$"),
            ("+/b", "~", r"^(?!\$)[^/]*/b$"),
            ("$x/(y|é)/+", "~", r"^\$x/\(y\|é\)/[^/]*$"),
        ] {
            assert_eq!(topic_condition(&filter.parse().unwrap()), (operator, operand.into()), "{filter}");
        }
    }

    #[test]
    fn only_cursors_of_pages_are_taken() {
        let id = Uuid::from_u128(7);
        let (time, parsed) = parse_cursor(&format!("5_{}", id.simple())).unwrap();
        assert_eq!((time, parsed), (5, id));
        let before_all = format!("{}_{}", FIRST_TIME - 1, id.simple());
        for text in
            [before_all.as_str(), "", "5", "5_x", "x_00000000000000000000000000000007", "99999999999999999999_7"]
        {
            assert!(matches!(parse_cursor(text), Err(QueryError::Cursor)), "{text}");
        }
    }
}
