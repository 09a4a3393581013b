//! The writer and the queries against a real TimescaleDB: `SYNAP_TEST_DATABASE_URL` names a
//! server (`scripts/timescaledb up` prints one) whose user may create databases; each test has
//! a fresh one.

#![cfg(test)]

mod community;
mod compressed;
mod convert;
mod dead_letters;
mod import;
mod import_resume;
mod import_support;
mod keep;
mod keep_measurements;
mod licence;
mod licensed;
mod load;
mod measurements;
mod older;
mod passwords;
mod plain;
mod policies;
#[path = "../it/support/postgres.rs"]
mod postgres;
mod query;
mod repeats;
mod resume;
mod roles;
mod series;
mod server;
mod support;
mod tls;
mod vanished;
mod writer;
