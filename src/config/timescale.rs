//! `[timescale]`: the database that events are written to.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    measurements::MeasurementSettings,
    units::{optional_duration, write_optional_duration},
};

/// The database. Without it events stay in the embedded store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct TimescaleSettings {
    /// Where it is and who the bridge is there.
    pub url: DatabaseUrl,
    /// Whether events that other writers put into the table join the stream.
    #[serde(default = "yes")]
    pub import: bool,
    /// A file whose first line is the password, in the place of one in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The table that events go to, where it is not the pod's `events` or `events_timescale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// Age at which events go; without it, never.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_duration::<_, HOUR, CENTURY>",
        serialize_with = "write_optional_duration"
    )]
    pub retention: Option<Duration>,
    /// Age at which events are compressed; without it, never.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_duration::<_, HOUR, CENTURY>",
        serialize_with = "write_optional_duration"
    )]
    pub compress_after: Option<Duration>,
    /// How long measurements are kept.
    #[serde(default, skip_serializing_if = "MeasurementSettings::is_nothing")]
    pub measurements: MeasurementSettings,
}

const fn yes() -> bool {
    true
}

/// In milliseconds: less would take events away that are on their way.
const HOUR: u64 = 3_600_000;

/// In milliseconds: 36,500 days.
pub(super) const CENTURY: u64 = 3_153_600_000_000;

impl TimescaleSettings {
    /// What is wrong between its keys, each with the key to change.
    pub(super) fn check(&self) -> Vec<(&'static str, &'static str)> {
        let url = self.url.tls_problem().map(|problem| ("url", problem));
        let is_pointless = self.retention.zip(self.compress_after).is_some_and(|(keep, compress)| compress >= keep);
        let compress = is_pointless.then_some(("compress_after", "must be shorter than `timescale.retention`"));
        url.into_iter().chain(compress).collect()
    }

    /// What depends on the database, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let keys = [
            ("timescale.compress_after", self.compress_after),
            ("timescale.measurements.compress_after", self.measurements.compress_after),
        ];
        let note = |key| {
            format!(
                "`{key}` needs a hypertable and TimescaleDB's community licence; where the database has neither, the \
                 start says so"
            )
        };
        keys.into_iter().filter_map(|(key, age)| age.map(|_| note(key))).collect()
    }
}

/// The name of a table as SQL writes it without quotes, with its schema or without.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

/// Text that is no name of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of a table, such as events or public.events: lower-case letters, digits and _")]
pub struct TableNameError;

impl TableName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TableName {
    type Error = TableNameError;

    fn try_from(text: String) -> Result<Self, TableNameError> {
        let is_name = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
            return Err(TableNameError);
        }
        Ok(Self(text))
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

/// A connection URL of PostgreSQL. Everything that prints it shows `***` for the password;
/// only [`DatabaseUrl::expose`] gives it whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl(Url);

/// Text that is no connection URL. Does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a URL such as postgres://user:password@host:5432/database")]
pub struct DatabaseUrlError;

/// Values of `sslmode` (PostgreSQL manual, section 34.19.3).
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A file that the URL names for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseFile {
    /// `sslrootcert`: CAs of the server.
    Authority(PathBuf),
    /// `sslcert`: the bridge's own certificate.
    Certificate(PathBuf),
    /// `sslkey`: its private key.
    Key(PathBuf),
    /// `passfile`: passwords in the form of `.pgpass`.
    Passwords(PathBuf),
}

impl DatabaseUrl {
    /// The files that it names. Each may also stand in the URL itself, in PEM form.
    #[must_use]
    pub fn files(&self) -> Vec<DatabaseFile> {
        let file = |names, kind: fn(PathBuf) -> DatabaseFile| {
            self.parameter(names)
                .filter(|value| !value.trim_start().starts_with("-----BEGIN"))
                .map(|path| kind(path.into()))
        };
        let files = [
            file(&["sslrootcert", "ssl-root-cert", "ssl-ca"], DatabaseFile::Authority),
            file(&["sslcert", "ssl-cert"], DatabaseFile::Certificate),
            file(&["sslkey", "ssl-key"], DatabaseFile::Key),
            file(&["passfile"], DatabaseFile::Passwords),
        ];
        files.into_iter().flatten().collect()
    }

    /// What is wrong with its parameters for TLS.
    pub(super) fn tls_problem(&self) -> Option<&'static str> {
        if self.parameter(&["sslmode", "ssl-mode"]).is_some_and(|mode| !SSL_MODES.contains(&&*mode.to_lowercase())) {
            return Some("`sslmode` must be disable, allow, prefer, require, verify-ca or verify-full");
        }
        let given = |names| self.parameter(names).is_some();
        (given(&["sslcert", "ssl-cert"]) != given(&["sslkey", "ssl-key"]))
            .then_some("`sslcert` and `sslkey` go together")
    }

    /// The last value of a parameter that has several names.
    fn parameter(&self, names: &[&str]) -> Option<String> {
        let values = self.0.query_pairs().filter(|(name, _)| names.contains(&&**name));
        values.last().map(|(_, value)| value.into_owned())
    }

    /// The URL with its password, to connect with.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let url = Url::parse(text).map_err(|_| DatabaseUrlError)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.cannot_be_a_base() {
            return Err(DatabaseUrlError);
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = DatabaseUrlError;

    fn try_from(text: String) -> Result<Self, DatabaseUrlError> {
        text.parse()
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HIDDEN: &str = "***";
        let mut url = self.0.clone();
        if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
            return f.write_str(HIDDEN);
        }
        // `?password=` and `?sslpassword=` are secrets too.
        if url.query_pairs().any(|(key, _)| key.contains("password")) {
            let pairs: Vec<_> = self.0.query_pairs().collect();
            let shown = pairs.iter().map(|(key, value)| (key, if key.contains("password") { HIDDEN } else { value }));
            url.query_pairs_mut().clear().extend_pairs(shown);
        }
        url.fmt(f)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_prints_a_url_shows_its_password() {
        for (text, shown) in [
            ("postgres://synap:hunter2@db:5432/pod", "postgres://synap:***@db:5432/pod"),
            ("postgresql:///pod?host=/run&password=hunter2", "postgresql:///pod?host=%2Frun&password=***"),
            ("postgres://db/pod", "postgres://db/pod"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_string(&url).unwrap(), format!("\"{shown}\""));
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn files_and_modes_of_tls_are_known() {
        let parse = |query: &str| format!("postgres://db/pod?{query}").parse::<DatabaseUrl>().unwrap();
        let url = parse("sslmode=verify-full&sslrootcert=/ca.pem&sslcert=b.pem&ssl-key=-----BEGIN%20x-----");
        assert_eq!(url.files(), [DatabaseFile::Authority("/ca.pem".into()), DatabaseFile::Certificate("b.pem".into())]);
        assert_eq!(url.tls_problem(), None);
        assert_eq!(parse("").files(), []);
        assert!(parse("sslmode=verify_full").tls_problem().unwrap().contains("verify-full"));
        assert!(parse("sslcert=a").tls_problem().unwrap().contains("together"));
    }

    #[test]
    fn only_names_that_need_no_quotes_are_tables() {
        for text in ["events", "public.events_timescale", "_e1"] {
            assert_eq!(TableName::try_from(text.to_owned()).unwrap().as_str(), text);
        }
        for text in ["", "Events", "a.b.c", "1a", "events; drop table x", "a.", "\"a\""] {
            assert_eq!(TableName::try_from(text.to_owned()), Err(TableNameError), "{text}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for text in ["", "db:5432/pod", "mysql://db/pod", "postgres:pod", "postgres"] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(DatabaseUrlError), "{text}");
        }
    }
}
