//! Another program of the pod that writes into `events`, straight into the server, and remembers what
//! became of each row.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};

/// Between two statements.
const PACE: Duration = Duration::from_millis(20);

/// Rows of one statement, from one to this.
const ROWS: u64 = 4;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has said that it is committed.
    Committed,
    /// It may be there or not: its answer never came, or the server was set back behind it.
    Unknown,
}

/// The rows of one writer, by number.
#[derive(Default)]
pub struct OtherWriter {
    fates: Mutex<BTreeMap<u64, Fate>>,
    /// An answer for numbers below it may still be on its way, and says nothing any more.
    doubted: AtomicU64,
}

impl OtherWriter {
    /// The number of the next row.
    pub fn next(&self) -> u64 {
        self.fates.lock().unwrap().last_key_value().map_or(0, |(number, _)| number + 1)
    }

    /// A number below which every row has its answer.
    pub fn answered(&self) -> u64 {
        self.next().saturating_sub(ROWS)
    }

    /// Writes rows while there is `more`, whatever becomes of the server.
    pub async fn run(&self, server: &PgConnectOptions, more: &AtomicBool) {
        let mut session = None;
        while more.load(Ordering::Relaxed) {
            match session.as_mut() {
                None => session = server.connect().await.ok(),
                Some(open) => {
                    let next = self.next();
                    if !self.insert(open, next..next + 1 + next % ROWS).await {
                        session = None;
                    }
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Inserts as the pod's backend does; whether the session is still of use.
    async fn insert(&self, session: &mut PgConnection, numbers: Range<u64>) -> bool {
        self.note(numbers.clone(), Fate::Unknown);
        let sql = "insert into events (type, subject_id, subject_type, data, metadata, user_id)
            select 'notes.creation.completed', n::text, 'note', jsonb_build_object('n', n), '{\"version\":1}', 'owner'
            from generate_series($1, $2 - 1) as numbers (n) order by numbers.n";
        let insert = sqlx::query(sql).bind(numbers.start.cast_signed()).bind(numbers.end.cast_signed());
        let inserted = insert.execute(session).await.is_ok();
        if inserted && numbers.start >= self.doubted.load(Ordering::Relaxed) {
            self.note(numbers, Fate::Committed);
        }
        inserted
    }

    fn note(&self, numbers: Range<u64>, fate: Fate) {
        self.fates.lock().unwrap().extend(numbers.map(|number| (number, fate)));
    }

    /// Says that the server was set back to where it had nothing from this number on for sure.
    pub fn set_back(&self, first: u64) {
        let last = self.next();
        self.doubted.store(last, Ordering::Relaxed);
        self.note(first..last, Fate::Unknown);
    }

    /// Compares what it knows of the numbers from `first` on with what is in the table and the stream, each in
    /// its order.
    pub fn check(&self, first: u64, table: &[u64], stream: &[u64]) {
        assert!(stream.is_sorted_by(|one, next| one < next), "twice or out of order in the stream: {stream:?}");
        assert!(table.is_sorted_by(|one, next| one < next), "twice in the table: {table:?}");
        let fates = self.fates.lock().unwrap();
        for (number, fate) in fates.range(first..) {
            let (stored, shown) = (table.binary_search(number).is_ok(), stream.binary_search(number).is_ok());
            assert!(stored || *fate == Fate::Unknown, "row {number} was committed and is lost");
            assert!(shown || !stored, "row {number} is in the table and not in the stream");
        }
        let unknown = table.iter().chain(stream).find(|number| !fates.contains_key(number));
        assert_eq!(unknown, None, "never written");
    }
}
