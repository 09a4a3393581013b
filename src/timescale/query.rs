//! `GET /api/events` from the table: newest first, by keyset.

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{
    PgPool, Postgres, QueryBuilder, Row,
    postgres::{PgPoolOptions, PgRow},
};
use uuid::Uuid;

use super::writer::Settings;
use crate::{
    limits,
    types::{EventPage, EventQuery, Micros, TopicFilter, subject_id},
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
    /// A row holds what no event can.
    #[error("an event in the table cannot be shown: {0}")]
    Row(#[from] serde_json::Error),
}

/// Reads events. Connects when first asked, apart from the writer's connection.
#[derive(Clone)]
pub struct EventStore {
    pool: PgPool,
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
        let timeout = format!("{}ms", limits::QUERY_TIMEOUT.as_millis());
        let pool = PgPoolOptions::new()
            .max_connections(limits::QUERY_CONNECTIONS)
            .acquire_timeout(limits::QUERY_TIMEOUT)
            .connect_lazy_with(settings.database.clone().options([("statement_timeout", timeout)]));
        Self { pool }
    }

    /// Connections to ask on.
    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// One page of events, newest first; of events at the same microsecond, the highest id.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, QueryError> {
        let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
        // One row more than wanted tells whether there is a next page.
        let rows = select(query, after).build().fetch_all(&self.pool).await?;
        let wanted = usize::from(query.limit);
        let mut page = EventPage::default();
        for row in rows.iter().take(wanted) {
            page.events.push(event_json(row)?);
        }
        if rows.len() > wanted
            && let Some(last) = rows.get(wanted.saturating_sub(1))
        {
            page.next_cursor = Some(format!("{}_{}", micros(last)?.get(), last.try_get::<Uuid, _>("id")?.simple()));
        }
        Ok(page)
    }
}

fn parse_cursor(text: &str) -> Result<(Micros, Uuid), QueryError> {
    parse_position(text).ok_or(QueryError::Cursor)
}

/// A time in microseconds and a UUID.
pub(super) fn parse_position(text: &str) -> Option<(Micros, Uuid)> {
    let (micros, id) = text.split_once('_')?;
    Some((Micros::new(micros.parse().ok()?).ok()?, Uuid::try_parse(id).ok()?))
}

/// Times go as text: what `sqlx` has for them needs another library of calendars.
fn select(query: &EventQuery, after: Option<(Micros, Uuid)>) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(
        "select id, (extract(epoch from timestamp) * 1000000)::int8 as micros, type, subject_id, subject_type,
         data::text as data, metadata::text as metadata, source, correlation_id, user_id from events where true",
    );
    if let Some(event_type) = &query.event_type {
        sql.push(" and type = ").push_bind(event_type.clone());
    }
    if let Some(device) = &query.device {
        // By the subject's index; the mapping names no device that is not the subject.
        sql.push(" and subject_type = 'device' and subject_id = ").push_bind(subject_id(device).to_string());
    }
    if let Some(topic) = &query.topic {
        let (operator, operand) = topic_condition(topic);
        sql.push(" and metadata->>'topic' ").push(operator).push(" ").push_bind(operand);
    }
    for (operator, time) in [(">=", query.from), ("<", query.to), ("<=", after.map(|(time, _)| time))] {
        if let Some(time) = time {
            sql.push(" and timestamp ").push(operator).push(" ").push_bind(time.to_string()).push("::timestamptz");
        }
    }
    if let Some((time, id)) = after {
        sql.push(" and (timestamp, id) < (").push_bind(time.to_string()).push("::timestamptz, ");
        sql.push_bind(id).push(")");
    }
    sql.push(" order by timestamp desc, id desc limit ").push_bind(i64::from(query.limit) + 1);
    sql
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
        assert_eq!((time.get(), parsed), (5, id));
        for text in ["", "5", "5_x", "x_00000000000000000000000000000007", "99999999999999999999_7"] {
            assert!(matches!(parse_cursor(text), Err(QueryError::Cursor)), "{text}");
        }
    }
}
