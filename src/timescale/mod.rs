//! The way into TimescaleDB: a consumer of the journal that writes every durable publication
//! to the table `events`, exactly once, and the queries that read them back.
//!
//! And the way back: [`Importer`] takes what other writers put into the table into the journal.
//!
//! [`Loader`] stores events of files, at a command.
//!
//! A third task looks after what is stored ([`Keeper::run`]). Two tasks write: [`Writer::run`] owns the one connection that writes; its feed reads the journal
//! and encodes the next rows meanwhile. Order and exactly-once come from one transaction that
//! holds both the rows and the journal's cursor in `mqtt.writer_cursor` (`store`). The database
//! is the truth about the cursor: after any error the session ends, and the next one asks.
//!
//! While the database is away nothing else waits: records stay in the journal, whose retention
//! the writer holds, [`Statistics::connected`] is false, and the backlog drains afterwards in
//! order. An event that the table refuses for its values goes to `mqtt.dead_letters` (`set_aside`); an
//! error that is not about a row is retried for ever.

mod administration;
mod convert;
mod dead_letters;
mod encode;
mod error;
mod feed;
mod import;
mod inspect;
mod keep;
mod layout;
mod licence;
mod load;
mod order;
mod password;
mod pause;
mod progress;
mod query;
mod readers;
mod repeats;
mod resume;
mod retry;
mod rollups;
mod rows;
mod schema;
mod series;
mod set_aside;
mod settings;
mod statistics;
mod store;
mod table;
mod transport;
mod writer;

pub use administration::Administration;
pub use convert::{Conversion, ConvertError};
pub use dead_letters::{Replayed, replay_dead_letters};
pub use error::WriteError;
pub use import::{ImportStatistics, Importer, report_unwanted};
pub use keep::{Keep, KeepMeasurements, Keeper, Shortfall};
pub use layout::{Form, Layout, SubjectId};
pub use licence::{Licence, TimescaleDb};
pub use load::{Loaded, Loader, Refused};
pub use password::{PasswordError, PasswordSource};
pub use query::{EventStore, QueryError};
pub use rollups::keep_rollups;
pub use schema::{EventsTable, Key, TableKind};
pub use settings::Settings;
pub use statistics::Statistics;
pub use writer::Writer;
