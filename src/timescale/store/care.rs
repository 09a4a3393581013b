//! A batch stored with care: through a temporary table, without the rows that the tables have, and in
//! halves until those that are refused stand alone.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};

use super::{Known, Origin, begin, copy, note_minutes};
use crate::{
    limits,
    timescale::{
        error::{WriteError, is_about_a_row, within},
        repeats,
        rows::Part,
        schema::Key,
        set_aside::set_aside,
        statistics::Stored,
        table::Table,
    },
};

/// Before rows are told from those that the tables have. A constraint that is checked at commit would refuse a row
/// when it is too late to tell which; and for whoever notes other writers' rows, these are not theirs.
const BEGIN_WITH_CARE: &str = "set constraints all immediate; set local mqtt.writer = 'bridge'";

/// Stores a part of which the tables may have rows, or refuse some.
pub(super) async fn store_with_care(
    connection: &mut PgConnection,
    origin: &Origin,
    known: &Known,
    part: Part<'_>,
) -> Result<Stored, WriteError> {
    // The whole takes as long as it needs, a silent server is found out by each step.
    const STEP: std::time::Duration = limits::TIMESCALE_TIMEOUT;
    let mut transaction = within(STEP, begin(connection, origin, part)).await?;
    within(STEP, async { Ok(prepare_incoming(&mut transaction, known).await?) }).await?;
    let repeats = within(STEP, async { Ok(repeats::find(&mut transaction, part).await?) }).await?;
    let (mut stored, mut is_first) = (Stored { repeats: repeats.len() as u64, ..Stored::default() }, true);
    let mut pieces = vec![part.without(&repeats)];
    while let Some(piece) = pieces.pop() {
        let result = within(STEP, async { Ok(insert_new(&mut transaction, known, piece, is_first).await) }).await?;
        is_first = false;
        match (result, piece.halves()) {
            (Ok(inserted), _) => {
                stored.known_rows += piece.events().saturating_sub(inserted.rows);
                stored += inserted;
            }
            (Err(error), _) if !is_about_a_row(&error) => return Err(error.into()),
            (Err(_), Some([first, second])) => pieces.extend([second, first]),
            (Err(error), None) => {
                if let Some((sequence, _)) = piece.last() {
                    within(STEP, set_aside(&mut transaction, origin, sequence, &error)).await?;
                    stored.dead_letters += 1;
                }
            }
        }
    }
    within(STEP, async { Ok(transaction.commit().await?) }).await?;
    Ok(stored)
}

/// Makes the tables that rows go through one by one, of the columns that they have, without the constraints: what the
/// table gives a default must not be wanted here. They last as long as the session: new ones for each transaction
/// would wear out the catalogue where every row takes this way.
pub async fn prepare_incoming(connection: &mut PgConnection, known: &Known) -> Result<(), sqlx::Error> {
    let mut sql = BEGIN_WITH_CARE.to_owned();
    for table in Table::ALL {
        let (incoming, name, columns) = (table.incoming(), known.name(table), known.columns(table));
        sql += &format!(
            "; create temporary table if not exists {incoming} on commit delete rows as select {columns} from {name} \
             with no data"
        );
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// Stores the rows that the tables do not have, or leaves the transaction as it was. Returns
/// how many there were. `is_first` says that none went this way in this transaction before.
pub async fn insert_new(
    transaction: &mut PgTransaction<'_>,
    known: &Known,
    piece: Part<'_>,
    is_first: bool,
) -> Result<Stored, sqlx::Error> {
    let mut savepoint = transaction.begin().await?;
    let result = async {
        let mut stored = Stored::default();
        for table in Table::ALL {
            if let Some(data) = piece.copy_data(table) {
                stored.add(table, insert_new_rows(&mut savepoint, known, table, data, is_first).await?);
            }
        }
        note_minutes(&mut savepoint, known, piece).await?;
        Ok(stored)
    }
    .await;
    match result {
        Ok(inserted) => savepoint.commit().await.map(|()| inserted),
        Err(error) => savepoint.rollback().await.and(Err(error)),
    }
}

async fn insert_new_rows(
    connection: &mut PgConnection,
    known: &Known,
    table: Table,
    data: Vec<&[u8]>,
    is_first: bool,
) -> Result<u64, sqlx::Error> {
    let (name, columns, incoming) = (known.name(table), known.columns(table), table.incoming());
    // Without the columns of the key, a conflict with any other unique key would lose the row.
    let unless_known = match (table, known.table.key) {
        (Table::Measurements, _) => "on conflict (device, metric, time, event) do nothing".to_owned(),
        (Table::DeadLetters, _) => "on conflict (journal, sequence, received_at) do nothing".to_owned(),
        (Table::Events, Key::Id) => "on conflict (id) do nothing".to_owned(),
        (Table::Events, Key::IdAndTime) => "on conflict (id, timestamp) do nothing".to_owned(),
        (Table::Events, Key::Missing) => {
            format!("where not exists (select from {name} as known where known.id = {incoming}.id)")
        }
    };
    let insert = format!("insert into {name} ({columns}) select {columns} from {incoming} {unless_known}");
    if !is_first {
        sqlx::raw_sql(AssertSqlSafe(format!("truncate {incoming}"))).execute(&mut *connection).await?;
    }
    copy(connection, known, table, incoming, data).await?;
    Ok(sqlx::raw_sql(AssertSqlSafe(insert)).execute(connection).await?.rows_affected())
}
