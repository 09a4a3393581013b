//! Events as rows of CSV (RFC 4180), as `GET /api/events?format=csv` writes them: `data` and `metadata` are JSON, what
//! is absent is empty.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

use serde_json::value::RawValue;

use super::{
    csv_text::{self, CsvText},
    entry::{Entry, FieldError, FileError},
    event_json::{COLUMNS, EventJson},
    fields::Fields,
    metered::Meter,
};
use crate::types::ImportedEvent;

/// Writes rows.
pub struct CsvRows<W: Write>(csv::Writer<W>);

impl<W: Write> CsvRows<W> {
    /// Begins with the names of the columns, where it is the beginning of a file.
    ///
    /// # Errors
    /// As the writer says.
    pub fn new(out: W, with_names: bool) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
        if with_names {
            writer.write_record(COLUMNS)?;
        }
        Ok(Self(writer))
    }

    /// Adds an event, from its JSON.
    ///
    /// # Errors
    /// As the writer says, or where it is no event.
    pub fn push(&mut self, json: &str) -> io::Result<()> {
        let row: EventJson<'_> = serde_json::from_str(json)?;
        self.0.write_record([
            row.id,
            &row.r#type,
            row.timestamp,
            &row.user_id,
            &row.subject_id,
            &row.subject_type,
            row.data.get(),
            row.metadata.map_or("", RawValue::get),
            row.correlation_id.unwrap_or_default(),
            row.causation_id.unwrap_or_default(),
            row.source.as_deref().unwrap_or_default(),
            row.version,
        ])?;
        Ok(())
    }

    /// Writes what is left, and gives the writer back.
    ///
    /// # Errors
    /// As the writer says.
    pub fn finish(self) -> io::Result<W> {
        self.0.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}

/// Reads rows.
pub struct CsvEvents {
    text: CsvText,
    origin: String,
    /// Which field each column is.
    fields: Vec<&'static str>,
    is_over: bool,
}

impl CsvEvents {
    pub fn new(input: Box<dyn Read>, meter: &Meter, origin: &str) -> Result<Self, FileError> {
        let text = CsvText::new(input, meter)?;
        let mut fields = Vec::new();
        for name in &text.names {
            let known = COLUMNS.iter().chain(&["requestId"]).find(|known| *known == name);
            let known = known.ok_or_else(|| FileError::Header(format!("{name:?} is none of them")))?;
            if fields.contains(known) {
                return Err(FileError::Header(format!("{name:?} is there twice")));
            }
            fields.push(*known);
        }
        for needed in ["id", "type", "timestamp", "userId", "data"] {
            if !fields.contains(&needed) {
                return Err(FileError::Header(format!("there is no {needed:?}")));
            }
        }
        Ok(Self { text, origin: origin.to_owned(), fields, is_over: false })
    }

    pub fn header(&self) -> String {
        self.text.header()
    }
}

impl Iterator for CsvEvents {
    type Item = Result<Entry<ImportedEvent>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.text.next()? {
            Ok((line, record)) => {
                let found = event(&self.fields, record, &self.origin);
                Some(Ok(Entry { line, text: csv_text::text(record), found }))
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }
}

fn event(names: &[&str], record: &csv::ByteRecord, origin: &str) -> Result<ImportedEvent, FieldError> {
    if record.len() != names.len() {
        let problem = format!("it has {} fields, and the first row names {}", record.len(), names.len());
        return Err(FieldError::Record(problem));
    }
    let mut fields = Fields::default();
    for (name, value) in names.iter().zip(record) {
        if value.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(value).map_err(|_| FieldError::field(name, "it is not UTF-8"))?;
        *fields.named(name) = Some(Cow::Borrowed(text));
    }
    fields.event(origin)
}
