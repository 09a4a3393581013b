//! Events as lines of JSON.

use std::{
    borrow::Cow,
    io::{BufRead, BufReader, Read},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    entry::{Entry, FieldError, FileError},
    fields::Fields,
    metered::{Meter, Metered},
};
use crate::{limits, types::ImportedEvent};

/// A SynapEvent as others may write it: in any order, without what is optional, and with nothing else, for that
/// would be lost.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Line<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    causation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
}

/// What is asked of the file at once.
const READ_BYTES: usize = 256 << 10;

/// Reads events line by line. Empty lines are none.
pub struct Lines {
    input: BufReader<Metered<Box<dyn Read>>>,
    meter: Meter,
    origin: String,
    line: u64,
    is_over: bool,
}

impl Lines {
    pub fn new(input: Box<dyn Read>, meter: &Meter, origin: &str) -> Self {
        let input = BufReader::with_capacity(READ_BYTES, Metered::new(input, meter));
        Self { input, meter: meter.clone(), origin: origin.to_owned(), line: 0, is_over: false }
    }

    fn read(&mut self) -> Result<Option<Entry<ImportedEvent>>, FileError> {
        loop {
            let mut bytes = Vec::new();
            self.meter.begin_record();
            let read = self.input.read_until(b'\n', &mut bytes);
            if self.meter.is_too_long() || bytes.len() > limits::FILE_RECORD_BYTES {
                return Err(FileError::TooLong { line: self.line + 1 });
            }
            if read? == 0 {
                return Ok(None);
            }
            self.line += 1;
            let end = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
            bytes.truncate(end);
            if bytes.is_empty() {
                continue;
            }
            let (text, found) = match String::from_utf8(bytes) {
                Ok(text) => {
                    let found = parse(&text, &self.origin);
                    (text, found)
                }
                Err(error) => {
                    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    (text, Err(FieldError::Record("it is not UTF-8".to_owned())))
                }
            };
            return Ok(Some(Entry { line: self.line, text, found }));
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Entry<ImportedEvent>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The event in a line.
fn parse(text: &str, origin: &str) -> Result<ImportedEvent, FieldError> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    Fields {
        id: line.id,
        event_type: line.r#type,
        timestamp: line.timestamp,
        user_id: line.user_id,
        subject_id: line.subject_id,
        subject_type: line.subject_type,
        data: line.data.map(|data| data.get().into()),
        metadata: line.metadata.map(|metadata| metadata.get().into()),
        correlation_id: line.correlation_id,
        causation_id: line.causation_id,
        request_id: line.request_id,
        source: line.source,
        version: line.version,
    }
    .event(origin)
}

/// The field that is wrong is only looked for where one is.
fn explain(text: &str, error: &serde_json::Error) -> FieldError {
    let said = error.to_string();
    let problem = said.split(" at line ").next().unwrap_or(&said);
    let column = error.column();
    if error.is_syntax() || error.is_eof() {
        return FieldError::Record(format!("not a JSON object: {problem} (column {column})"));
    }
    let deserializer = &mut serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, Line<'_>>(deserializer) {
        Err(error) if error.path().iter().next().is_some() => FieldError::field(&error.path().to_string(), problem),
        _ => FieldError::Record(format!("not an event: {problem} (column {column})")),
    }
}
