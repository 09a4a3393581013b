//! Events in files: lines of JSON, rows of CSV, columns of Parquet; and plain CSV of a device's past.
//!
//! Knows no store and no socket: what is written comes as the one JSON text that all stores give, and what is read
//! becomes [`ImportedEvent`](crate::types::ImportedEvent)s. Files of any size cost the memory of one group of rows
//! ([`limits`](crate::limits)). A record that is none is an [`Entry`] that says where it stands and what is wrong
//! with it, and reading goes on behind it; only a file that cannot be read at all ends with [`FileError`].

mod columns;
mod csv_events;
mod csv_text;
mod entry;
mod event_json;
mod fields;
mod lines;
mod metered;
mod parquet_events;
mod parquet_writer;
mod plain;
#[cfg(test)]
mod tests;
mod writer;

use std::{io::Read, path::Path};

use crate::types::ImportedEvent;

pub use csv_events::CsvRows;
pub use entry::{Entry, FieldError, FileError};
pub use fields::origin;
pub use metered::Meter;
pub use plain::{Choice, ChoiceError, PlainRow, TimeOptions, UtcOffset};
pub use writer::EventWriter;

/// The form of a file with events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Ndjson,
    /// One row an event, below a row of names
    Csv,
    /// Columns, compressed with Snappy
    Parquet,
}

impl Format {
    /// What the end of a file's name says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// What a file holds.
pub struct Opened<T> {
    /// The first row, where it names columns.
    pub header: Option<String>,
    /// Its records, one after the other.
    pub entries: Box<dyn Iterator<Item = Result<Entry<T>, FileError>>>,
}

/// The events of a file with lines or rows. `origin` goes into the metadata of each ([`origin`]).
///
/// # Errors
/// [`FileError`], where it is no such file.
pub fn read_text(
    format: Format,
    input: Box<dyn Read>,
    meter: &Meter,
    origin: &str,
) -> Result<Opened<ImportedEvent>, FileError> {
    match format {
        Format::Ndjson => Ok(Opened { header: None, entries: Box::new(lines::Lines::new(input, meter, origin)) }),
        Format::Csv => {
            let events = csv_events::CsvEvents::new(input, meter, origin)?;
            Ok(Opened { header: Some(events.header()), entries: Box::new(events) })
        }
        Format::Parquet => Err(FileError::Seek),
    }
}

/// The events of a Parquet file. `meter` counts its bytes, as far as its rows tell.
///
/// # Errors
/// [`FileError`], where it is no such file.
pub fn read_parquet(file: std::fs::File, meter: &Meter, origin: &str) -> Result<Opened<ImportedEvent>, FileError> {
    Ok(Opened { header: None, entries: Box::new(parquet_events::ParquetEvents::new(file, meter, origin)?) })
}

/// The rows of a plain CSV file.
///
/// # Errors
/// [`FileError`], where a column that was asked for is not there.
pub fn read_plain(
    input: Box<dyn Read>,
    meter: &Meter,
    time: &str,
    choices: &[Choice],
    times: TimeOptions,
) -> Result<Opened<PlainRow>, FileError> {
    let rows = plain::PlainReader::new(input, meter, time, choices, times)?;
    Ok(Opened { header: Some(rows.header()), entries: Box::new(rows) })
}
