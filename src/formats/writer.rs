//! One writer for all forms.

use std::io::{self, Write};

use super::{Format, csv_events::CsvRows, parquet_writer::ParquetWriter};

/// Writes events, from the JSON of each. Nothing is whole before [`EventWriter::finish`].
pub enum EventWriter<W: Write + Send> {
    /// NDJSON.
    Lines(W),
    /// CSV.
    Rows(Box<CsvRows<W>>),
    /// Parquet.
    Columns(Box<ParquetWriter<W>>),
}

impl<W: Write + Send> EventWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// As `out` says.
    pub fn new(format: Format, out: W) -> io::Result<Self> {
        Ok(match format {
            Format::Ndjson => Self::Lines(out),
            Format::Csv => Self::Rows(Box::new(CsvRows::new(out, true)?)),
            Format::Parquet => Self::Columns(Box::new(ParquetWriter::new(out)?)),
        })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// As `out` says, or where the text is no event.
    pub fn push(&mut self, json: &str) -> io::Result<()> {
        match self {
            Self::Lines(out) => out.write_all(json.as_bytes()).and_then(|()| out.write_all(b"\n")),
            Self::Rows(rows) => rows.push(json),
            Self::Columns(columns) => columns.push(json),
        }
    }

    /// Writes what is left, and gives `out` back.
    ///
    /// # Errors
    /// As `out` says.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Lines(out) => Ok(out),
            Self::Rows(rows) => rows.finish(),
            Self::Columns(columns) => columns.finish(),
        }
    }
}
