//! What an owner of the database does at a command: migrations, and converting the table of
//! events. One session, which ends with the value.

use sqlx::{Connection, PgConnection};

use super::{
    convert::{Conversion, ConvertError},
    error::{WriteError, within},
    inspect::inspect,
    keep::keep,
    schema::{self, EventsTable},
    settings::Settings,
};
use crate::limits;

/// A session of an owner.
pub struct Administration {
    connection: PgConnection,
    settings: Settings,
    table: String,
}

impl Administration {
    /// Connects.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn open(settings: &Settings) -> Result<Self, WriteError> {
        let mut connection = within(limits::TIMESCALE_CONNECT_TIMEOUT, settings.connect()).await?;
        let table = schema::resolve(&mut connection, settings.table.as_deref()).await?;
        Ok(Self { connection, settings: settings.clone(), table })
    }

    /// Ends the session in order; dropping the value ends it too.
    ///
    /// # Errors
    /// As the server says.
    pub async fn close(self) -> Result<(), WriteError> {
        Ok(self.connection.close().await?)
    }

    /// Versions and names of the migrations that are not applied yet.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn pending(&mut self) -> Result<Vec<(i64, String)>, WriteError> {
        schema::pending(&mut self.connection, &self.table).await
    }

    /// Applies them.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn migrate(&mut self) -> Result<(), WriteError> {
        schema::migrate(&mut self.connection, &self.table).await
    }

    /// Keeps events as the settings say: sets policies where TimescaleDB's licence has them, else takes
    /// old events away now. Returns what this server cannot do; nothing while a bridge is at it.
    ///
    /// # Errors
    /// [`WriteError`]
    pub async fn keep(&mut self) -> Result<Option<Vec<String>>, WriteError> {
        keep(&mut self.connection, &self.settings).await
    }

    /// The table that events go to.
    ///
    /// # Errors
    /// [`WriteError`], also when it does not exist yet.
    pub async fn table(&mut self) -> Result<EventsTable, WriteError> {
        inspect(&mut self.connection, &self.table).await
    }

    /// What making a hypertable of it takes; none where it is one.
    ///
    /// # Errors
    /// [`ConvertError`]
    pub async fn conversion(&mut self) -> Result<Option<Conversion>, ConvertError> {
        let table = self.table().await?;
        Conversion::plan(&mut self.connection, &table).await
    }

    /// Makes a hypertable of it; returns its rows.
    ///
    /// # Errors
    /// [`ConvertError`]; nothing has changed then.
    pub async fn convert(&mut self) -> Result<i64, ConvertError> {
        let table = self.table().await?;
        Conversion::carry_out(&mut self.connection, &table).await
    }
}
