//! What TimescaleDB the database has, and what its licence allows.
//!
//! Asked at the server, never guessed from functions that exist: the Apache-licensed build has
//! all of them and raises SQLSTATE 0A000 (feature not supported) in those it lacks.

use sqlx::PgConnection;

/// The extension in one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimescaleDb {
    /// What it may do.
    pub licence: Licence,
    /// The schema of its functions, as SQL writes it: `create_hypertable` is `{schema}.create_hypertable`.
    pub schema: String,
}

/// A licence of TimescaleDB, as `timescaledb.license` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Licence {
    /// `apache`: hypertables, `time_bucket`, `drop_chunks`; neither policies and jobs, nor
    /// compression (columnstore), nor continuous aggregates, nor `time_bucket_gapfill`.
    Apache,
    /// `timescale`: everything.
    Community,
}

impl TimescaleDb {
    /// Looks; none where the database does not have the extension. The role needs no right for it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn detect(connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let found: Option<(String, Option<String>)> = sqlx::query_as(
            "select quote_ident(n.nspname), current_setting('timescaledb.license', true)
             from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'timescaledb'",
        )
        .fetch_optional(connection)
        .await?;
        Ok(found.map(|(schema, licence)| Self { licence: Licence::named(licence.as_deref()), schema }))
    }
}

impl Licence {
    /// Whether the whole of TimescaleDB may be used.
    #[must_use]
    pub const fn is_community(self) -> bool {
        matches!(self, Self::Community)
    }

    /// A name that is unknown, or none, promises nothing beyond the Apache licence.
    fn named(name: Option<&str>) -> Self {
        if name == Some("timescale") { Self::Community } else { Self::Apache }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_community_licence_promises_everything() {
        for (name, licence) in [
            (Some("timescale"), Licence::Community),
            (Some("apache"), Licence::Apache),
            (Some(""), Licence::Apache),
            (None, Licence::Apache),
        ] {
            assert_eq!(Licence::named(name), licence);
        }
    }
}
