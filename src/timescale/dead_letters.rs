//! Dead letters: publications that were refused, by the table or by their route, to be looked at
//! and to be replayed once the fault is mended.
//!
//! A replay maps the publication anew. Its event has the id that it would have had, so it is stored
//! once even where something else has stored it meanwhile; row and letter change places in one
//! transaction. What is refused again stays, with the new reason.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use sqlx::{Connection, PgConnection, PgTransaction, QueryBuilder, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    encode::Encoder,
    error::{WriteError, is_about_a_row},
    inspect::inspect,
    query::{EventStore, QueryError, parse_position},
    repeats,
    rows::RowBatch,
    schema,
    set_aside::KeptPresence,
    settings::Settings,
    store,
    store::Known,
};
use crate::{
    limits,
    types::{
        DeadLetter, DeadLetterPage, DeadLetterQuery, EventMapper, Micros, Publication, PublishProperties, Qos,
        Sequence, TopicFilter,
    },
};

const COLUMNS: &str =
    "journal, sequence, (extract(epoch from received_at) * 1000000)::int8 as micros, topic, client_id,
    payload, reason, qos, retain, guaranteed, properties, presence";

/// What became of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Stored, and dead letters no more.
    pub stored: u64,
    /// Refused again.
    pub refused: u64,
}

impl EventStore {
    /// One page of dead letters.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, QueryError> {
        let mut sql = QueryBuilder::new(format!("select {COLUMNS} from mqtt.dead_letters where true"));
        if let Some(cursor) = &query.cursor {
            let (time, journal, sequence) = parse_cursor(cursor).ok_or(QueryError::Cursor)?;
            sql.push(" and (received_at, journal, sequence) < (").push_bind(time.to_string()).push("::timestamptz, ");
            sql.push_bind(journal).push(", ").push_bind(sequence).push(")");
        }
        sql.push(" order by received_at desc, journal desc, sequence desc limit ")
            .push_bind(i64::from(query.limit) + 1);
        let (mut session, _) = self.session().await?;
        let rows = sql.build().fetch_all(&mut *session).await?;
        let wanted = usize::from(query.limit);
        let letters = rows.iter().take(wanted).map(Letter::read).collect::<Result<Vec<_>, _>>()?;
        let last = letters.last().filter(|_| rows.len() > wanted);
        let next_cursor =
            last.map(|last| format!("{}_{}_{}", last.received.get(), last.journal.simple(), last.sequence));
        Ok(DeadLetterPage { dead_letters: letters.into_iter().map(Letter::shown).collect(), next_cursor })
    }
}

fn parse_cursor(text: &str) -> Option<(Micros, Uuid, i64)> {
    let (position, sequence) = text.rsplit_once('_')?;
    let (time, journal) = parse_position(position)?;
    Some((time, journal, sequence.parse().ok()?))
}

/// Replays the dead letters of topics that match, in the order of their receipt. `mapper` makes
/// the one for a journal.
///
/// # Errors
/// [`WriteError`]. What was replayed until then stays so.
pub async fn replay_dead_letters(
    settings: &Settings,
    filter: &TopicFilter,
    mapper: impl Fn(Uuid) -> Arc<dyn EventMapper>,
) -> Result<Replayed, WriteError> {
    let mut connection = settings.connect().await?;
    let name = schema::resolve(&mut connection, settings.table.as_deref()).await?;
    schema::migrate(&mut connection, &name).await?;
    let known = Known {
        table: inspect(&mut connection, &name).await?,
        through: Sequence::ZERO,
        own_rollups: schema::has_own_rollups(&mut connection).await?,
    };
    let (mut replayed, mut encoders) = (Replayed::default(), HashMap::new());
    let mut after = (Micros::MIN, Uuid::nil(), 0);
    loop {
        let mut transaction = connection.begin().await?;
        let letters = take(&mut transaction, after).await?;
        let Some(last) = letters.last() else { break };
        after = (last.received, last.journal, last.sequence);
        store::prepare_incoming(&mut transaction, &known).await?;
        for letter in letters.iter().filter(|letter| filter.matches(&letter.topic)) {
            let encoder =
                encoders.entry(letter.journal).or_insert_with(|| Encoder::new(letter.journal, mapper(letter.journal)));
            match letter.replay(&mut transaction, &known, encoder).await? {
                true => replayed.stored += 1,
                false => replayed.refused += 1,
            }
        }
        transaction.commit().await?;
    }
    connection.close().await?;
    Ok(replayed)
}

/// The next letters, which nobody else replays meanwhile.
async fn take(connection: &mut PgConnection, after: (Micros, Uuid, i64)) -> Result<Vec<Letter>, sqlx::Error> {
    let sql = format!(
        "select {COLUMNS} from mqtt.dead_letters where (received_at, journal, sequence) > ($1::text::timestamptz, $2, $3)
         order by received_at, journal, sequence limit $4 for update"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after.0.to_string())
        .bind(after.1)
        .bind(after.2)
        .bind(limits::REPLAY_LETTERS)
        .fetch_all(connection)
        .await?;
    rows.iter().map(Letter::read).collect()
}

/// A dead letter as it is in the table.
struct Letter {
    journal: Uuid,
    sequence: i64,
    received: Micros,
    topic: String,
    client_id: String,
    payload: Vec<u8>,
    reason: String,
    qos: Option<i16>,
    retain: Option<bool>,
    guaranteed: Option<bool>,
    properties: Option<Vec<u8>>,
    /// Of a letter that is no message.
    presence: Option<KeptPresence>,
}

impl Letter {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let presence: Option<String> = row.try_get("presence")?;
        let presence = presence.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            journal: row.try_get("journal")?,
            sequence: row.try_get("sequence")?,
            received: Micros::saturating(row.try_get("micros")?),
            topic: row.try_get("topic")?,
            client_id: row.try_get("client_id")?,
            payload: row.try_get("payload")?,
            reason: row.try_get("reason")?,
            qos: row.try_get("qos")?,
            retain: row.try_get("retain")?,
            guaranteed: row.try_get("guaranteed")?,
            properties: row.try_get("properties")?,
            presence: presence.map_err(|error| sqlx::Error::Decode(error.into()))?,
        })
    }

    fn shown(self) -> DeadLetter {
        DeadLetter {
            journal: self.journal,
            sequence: self.sequence.cast_unsigned(),
            received_at: self.received.to_string(),
            topic: self.topic,
            client_id: self.client_id,
            payload: STANDARD.encode(self.payload),
            reason: self.reason,
            device: self.presence.map(|presence| presence.device),
        }
    }

    fn publication(&self) -> Publication<'_> {
        let qos = self.qos.and_then(|qos| Qos::try_from(u8::try_from(qos).ok()?).ok());
        Publication {
            sequence: Sequence(self.sequence.cast_unsigned()),
            received: self.received,
            topic: &self.topic,
            payload: &self.payload,
            qos: qos.unwrap_or(Qos::AtLeastOnce),
            retain: self.retain.unwrap_or_default(),
            guaranteed: self.guaranteed.unwrap_or(true),
            client_id: &self.client_id,
            properties: PublishProperties::new(self.properties.as_deref().unwrap_or_default()),
        }
    }

    /// Stores what it becomes now, in its place; false where it is refused again.
    async fn replay(
        &self,
        transaction: &mut PgTransaction<'_>,
        known: &Known,
        encoder: &mut Encoder,
    ) -> Result<bool, WriteError> {
        let publication = self.publication();
        let mut batch = RowBatch::new(known.table.layout.clone());
        batch.begin(publication.sequence.previous());
        if let Some(presence) = &self.presence {
            let presence = presence.presence(publication.sequence, publication.received, publication.client_id);
            encoder.push_presence(&mut batch, &presence);
        } else if let Some(reason) = encoder.push(&mut batch, &publication) {
            self.stay(transaction, &reason).await?;
            return Ok(false);
        }
        batch.reach(publication.sequence);
        let repeats = repeats::find(transaction, batch.whole()).await?;
        match store::insert_new(transaction, known, batch.whole().without(&repeats), false).await {
            Ok(_) => {}
            Err(error) if is_about_a_row(&error) => {
                self.stay(transaction, &error.to_string()).await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        let sql = "delete from mqtt.dead_letters where journal = $1 and sequence = $2 and received_at = $3::text::timestamptz";
        self.keyed(sqlx::query(sql)).execute(&mut **transaction).await?;
        Ok(true)
    }

    async fn stay(&self, transaction: &mut PgTransaction<'_>, reason: &str) -> Result<(), sqlx::Error> {
        let sql = "update mqtt.dead_letters set reason = $4
             where journal = $1 and sequence = $2 and received_at = $3::text::timestamptz";
        self.keyed(sqlx::query(sql)).bind(reason.to_owned()).execute(&mut **transaction).await?;
        Ok(())
    }

    fn keyed<'q>(&self, query: PgQuery<'q>) -> PgQuery<'q> {
        query.bind(self.journal).bind(self.sequence).bind(self.received.to_string())
    }
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;
