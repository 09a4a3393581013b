//! Plain CSV of a device's past: one column is the time, the others are what was measured.
//!
//! A cell that is a number or `true` or `false` becomes that, an empty one is left out, any other is text.

use std::{collections::HashSet, io::Read, str::FromStr};

use jiff::{civil, fmt::strtime, tz::Offset};

use super::{
    csv_text::{self, CsvText},
    entry::{Entry, FieldError, FileError},
    metered::Meter,
};
use crate::types::{Micros, write_json_string};

/// A column that is wanted, and what it is called in the event: `COLUMN` or `COLUMN=NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    column: String,
    name: String,
}

/// A text that chooses no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected COLUMN or COLUMN=NAME")]
pub struct ChoiceError;

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let (column, name) = text.rsplit_once('=').unwrap_or((text, text));
        match column.is_empty() || name.is_empty() {
            true => Err(ChoiceError),
            false => Ok(Self { column: column.to_owned(), name: name.to_owned() }),
        }
    }
}

/// How far times that do not say it themselves are ahead of UTC: `+02:00`, `-0530`, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcOffset(Offset);

impl FromStr for UtcOffset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected an offset from UTC such as +02:00, or Z";
        if matches!(text, "Z" | "UTC") {
            return Ok(Self(Offset::UTC));
        }
        let (sign, digits) = match text.split_at_checked(1) {
            Some(("+", digits)) => (1, digits.replace(':', "")),
            Some(("-", digits)) => (-1, digits.replace(':', "")),
            _ => return Err(EXPECTED),
        };
        let number = |range| digits.get(range).and_then(|digits: &str| digits.parse::<u16>().ok());
        match (digits.len(), number(0..2), number(2..4)) {
            (4, Some(hours), Some(minutes)) if hours < 24 && minutes < 60 => {
                let seconds = sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60);
                Offset::from_seconds(seconds).map(Self).map_err(|_| EXPECTED)
            }
            _ => Err(EXPECTED),
        }
    }
}

/// How times are read.
#[derive(Clone, Debug, Default)]
pub struct TimeOptions {
    /// As `strftime` writes it; without it RFC 3339, a date and time of day, or a number since 1970.
    pub format: Option<String>,
    /// For times that have none.
    pub offset: Option<UtcOffset>,
}

impl TimeOptions {
    fn parse(&self, text: &str) -> Result<Micros, String> {
        if let Some(format) = &self.format {
            let parsed = strtime::parse(format, text).map_err(|error| error.to_string())?;
            if parsed.offset().is_some() {
                return micros(parsed.to_timestamp());
            }
            return self.at_offset(parsed.to_datetime().map_err(|error| error.to_string())?);
        }
        if let Some(time) = text.parse().ok().or_else(|| Micros::since_epoch(text)) {
            return Ok(time);
        }
        match text.parse::<civil::DateTime>() {
            Ok(time) => self.at_offset(time),
            Err(_) => Err(format!(
                "expected a time such as 2026-01-31T12:00:00Z, or a number since 1970, not {text:?}; --time-format says \
                 how others are written"
            )),
        }
    }

    fn at_offset(&self, time: civil::DateTime) -> Result<Micros, String> {
        let Some(UtcOffset(offset)) = self.offset else {
            return Err("the time does not say where: --utc-offset does, such as --utc-offset +02:00".to_owned());
        };
        micros(offset.to_timestamp(time))
    }
}

fn micros(time: Result<jiff::Timestamp, jiff::Error>) -> Result<Micros, String> {
    let time = time.map_err(|error| error.to_string())?;
    Micros::new(time.as_microsecond()).map_err(|error| error.to_string())
}

/// What one row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainRow {
    /// When.
    pub time: Micros,
    /// What: a JSON object.
    pub data: String,
}

/// Reads rows.
pub struct PlainReader {
    text: CsvText,
    wanted: Wanted,
    is_over: bool,
}

/// What is taken of each row, and how.
struct Wanted {
    /// All names in the first row.
    names: Vec<String>,
    /// The column of the time.
    time: usize,
    /// Columns that are wanted, with what they are called.
    columns: Vec<(usize, String)>,
    times: TimeOptions,
}

impl PlainReader {
    /// Begins with the first row. Without choices, every column but the time is wanted.
    ///
    /// # Errors
    /// [`FileError`], where a column that was asked for is not there.
    pub fn new(
        input: Box<dyn Read>,
        meter: &Meter,
        time: &str,
        choices: &[Choice],
        times: TimeOptions,
    ) -> Result<Self, FileError> {
        let text = CsvText::new(input, meter)?;
        let wanted = Wanted::new(text.names.clone(), time, choices, times)?;
        Ok(Self { text, wanted, is_over: false })
    }

    /// The first row.
    pub fn header(&self) -> String {
        self.text.header()
    }
}

impl Wanted {
    fn new(names: Vec<String>, time: &str, choices: &[Choice], times: TimeOptions) -> Result<Self, FileError> {
        let find = |name: &str| {
            let found = names.iter().position(|known| known == name);
            found.ok_or_else(|| FileError::Column { name: name.to_owned(), known: names.join(", ") })
        };
        let time = find(time)?;
        let columns: Vec<_> = match choices {
            [] => names.iter().cloned().enumerate().filter(|(index, _)| *index != time).collect(),
            choices => choices
                .iter()
                .map(|choice| Ok((find(&choice.column)?, choice.name.clone())))
                .collect::<Result<_, FileError>>()?,
        };
        let mut called = HashSet::new();
        if let Some((_, name)) = columns.iter().find(|(_, name)| !called.insert(name.clone())) {
            return Err(FileError::Twice { name: name.clone() });
        }
        Ok(Self { names, time, columns, times })
    }

    fn row(&self, record: &csv::ByteRecord) -> Result<PlainRow, FieldError> {
        if record.len() != self.names.len() {
            let problem = format!("it has {} fields, and the first row names {}", record.len(), self.names.len());
            return Err(FieldError::Record(problem));
        }
        let parsed = self.times.parse(self.cell(record, self.time)?);
        let time = parsed.map_err(|problem| FieldError::field(self.name(self.time), problem))?;
        let mut data = vec![b'{'];
        for (index, name) in &self.columns {
            let text = self.cell(record, *index)?;
            if text.is_empty() {
                continue;
            }
            if data.len() > 1 {
                data.push(b',');
            }
            write_json_string(name, &mut data);
            data.push(b':');
            write_value(text, &mut data);
        }
        data.push(b'}');
        Ok(PlainRow { time, data: String::from_utf8(data).unwrap_or_default() })
    }

    fn cell<'a>(&self, record: &'a csv::ByteRecord, index: usize) -> Result<&'a str, FieldError> {
        let text = std::str::from_utf8(record.get(index).unwrap_or_default());
        text.map(str::trim).map_err(|_| FieldError::field(self.name(index), "it is not UTF-8"))
    }

    fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }
}

impl Iterator for PlainReader {
    type Item = Result<Entry<PlainRow>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.text.next()? {
            Ok((line, record)) => {
                Some(Ok(Entry { line, text: csv_text::text(record), found: self.wanted.row(record) }))
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }
}

/// A cell as JSON. `+5`, `.5` and `5.` are numbers that JSON writes otherwise; `007` is a name.
fn write_value(text: &str, out: &mut Vec<u8>) {
    if matches!(text, "true" | "false") {
        return out.extend_from_slice(text.as_bytes());
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |digits| ("-", digits));
    let zero = if digits.starts_with('.') { "0" } else { "" };
    let number = format!("{sign}{zero}{}", digits.strip_suffix('.').unwrap_or(digits));
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && serde_json::from_str::<serde_json::Number>(&number).is_ok();
    if is_number {
        out.extend_from_slice(number.as_bytes());
    } else {
        write_json_string(text, out);
    }
}
