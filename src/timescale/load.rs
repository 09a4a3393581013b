//! Events of files become rows: ones that were exported, or of a device's past (decision 0016).
//!
//! One session, at a command, beside a bridge that may run. A batch is one transaction, in which rows that the table
//! has are left out by its key: so a file that is read again, after whatever end, adds what is missing. Rows that
//! the table refuses for their values are found by halves, and told; the others of their batch are stored.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgDatabaseError};
use uuid::Uuid;

use super::{
    error::{WriteError, is_about_a_row, is_too_much, within},
    inspect::inspect,
    layout::SubjectId,
    rows::{Part, RowBatch},
    schema::{self, Key},
    settings::Settings,
    statistics::Stored,
    store::{Known, insert_new, prepare_incoming},
};
use crate::{
    limits,
    types::{ImportedEvent, Measurements, Sequence},
};

/// Lets the trigger note the rows, as it does those of other writers: they come in streams then.
const AS_ANOTHER: &str = "set local mqtt.writer = ''";

/// Stores events of files.
pub struct Loader {
    connection: PgConnection,
    known: Known,
    batch: RowBatch,
    streamed: bool,
    /// How many events it was given.
    given: u64,
    /// Ids of the batch, where the table has no key that would tell that one comes twice.
    ids: HashSet<Uuid>,
    /// Events that came twice in it.
    repeated: u64,
}

/// What became of events.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rows that are new.
    pub events: u64,
    /// Rows that the table had.
    pub known: u64,
    /// Numbers that are new.
    pub measurements: u64,
    /// What the table refused.
    pub refused: Vec<Refused>,
}

/// An event that the table refused.
#[derive(Debug)]
pub struct Refused {
    /// Its number among the events of its batch, from 0.
    pub number: usize,
    /// Why.
    pub reason: String,
}

impl Loader {
    /// Opens the session and makes the tables ready. With `streamed`, a bridge that takes over what others write
    /// shows the events in its streams.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn open(settings: &Settings, streamed: bool) -> Result<Self, WriteError> {
        let mut connection = within(limits::TIMESCALE_CONNECT_TIMEOUT, settings.connect()).await?;
        let name = schema::resolve(&mut connection, settings.table.as_deref()).await?;
        schema::migrate(&mut connection, &name).await?;
        let mut table = inspect(&mut connection, &name).await?;
        table.layout.correlated = true;
        let own_rollups = schema::has_own_rollups(&mut connection).await?;
        let mut batch = RowBatch::new(table.layout.clone());
        batch.begin(Sequence::ZERO);
        let known = Known { table, through: Sequence::ZERO, own_rollups };
        Ok(Self { connection, known, batch, streamed, given: 0, ids: HashSet::new(), repeated: 0 })
    }

    /// Adds an event to the batch. Without its row, where a route keeps the numbers only.
    ///
    /// # Errors
    /// Why the table cannot have it; it is not of the batch then.
    pub fn push(
        &mut self,
        event: &ImportedEvent,
        with_row: bool,
        measurements: Option<&Measurements>,
    ) -> Result<(), String> {
        let wants_uuid = self.known.table.layout.subject_id == SubjectId::Uuid;
        if wants_uuid && Uuid::try_parse(&event.subject_id).is_err() {
            return Err(format!("`subjectId`: the table wants a UUID, not {:?}", event.subject_id));
        }
        self.given += 1;
        self.batch.next_imported(Sequence(self.given), event);
        let is_repeated = self.known.table.key == Key::Missing && !self.ids.insert(event.id);
        self.repeated += u64::from(is_repeated);
        if with_row && !is_repeated {
            self.batch.push_imported(event);
        }
        if let Some(measurements) = measurements {
            self.batch.push_measurements(event.id, measurements);
        }
        self.batch.reach(Sequence(self.given));
        Ok(())
    }

    /// Whether the batch should be stored before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.batch.len() >= limits::LOAD_BATCH_ROWS || self.batch.bytes() >= limits::LOAD_BATCH_BYTES
    }

    /// Stores the batch and begins another.
    ///
    /// # Errors
    /// [`WriteError`]. A part of the batch may be stored then.
    pub async fn flush(&mut self) -> Result<Loaded, WriteError> {
        let first = self.batch.after().0 + 1;
        let mut loaded = Loaded { known: std::mem::take(&mut self.repeated), ..Loaded::default() };
        self.ids.clear();
        let mut parts = vec![self.batch.whole()];
        while let Some(part) = parts.pop() {
            if part.len() == 0 {
                continue;
            }
            let stored = within(limits::LOAD_TIMEOUT, store(&mut self.connection, &self.known, part, self.streamed));
            match (stored.await, part.halves()) {
                (Ok(stored), _) => {
                    loaded.events += stored.rows;
                    loaded.known += part.events().saturating_sub(stored.rows);
                    loaded.measurements += stored.measurements;
                }
                (Err(WriteError::Store(error)), Some([one, other]))
                    if is_about_a_row(&error) || is_too_much(&error) =>
                {
                    parts.extend([other, one]);
                }
                (Err(WriteError::Store(error)), None) if is_about_a_row(&error) => {
                    let place = part.last().map_or(first, |(place, _): (Sequence, Uuid)| place.0);
                    let number = usize::try_from(place - first).unwrap_or(usize::MAX);
                    loaded.refused.push(Refused { number, reason: message(&error) });
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.batch.begin(Sequence(self.given));
        Ok(loaded)
    }

    /// Ends the session in order; dropping the value ends it too.
    ///
    /// # Errors
    /// As the server says.
    pub async fn close(self) -> Result<(), WriteError> {
        Ok(self.connection.close().await?)
    }
}

async fn store(
    connection: &mut PgConnection,
    known: &Known,
    part: Part<'_>,
    streamed: bool,
) -> Result<Stored, WriteError> {
    let mut transaction = connection.begin().await?;
    prepare_incoming(&mut transaction, known).await?;
    if streamed {
        sqlx::raw_sql(AssertSqlSafe(AS_ANOTHER)).execute(&mut *transaction).await?;
    }
    let stored = insert_new(&mut transaction, known, part, true).await?;
    transaction.commit().await?;
    Ok(stored)
}

/// What the server says of a row, and why, without what surrounds it.
fn message(error: &sqlx::Error) -> String {
    let Some(error) = error.as_database_error() else { return error.to_string() };
    match error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail) {
        Some(detail) => format!("{} ({})", error.message(), detail.trim_end_matches('.')),
        None => error.message().to_owned(),
    }
}
