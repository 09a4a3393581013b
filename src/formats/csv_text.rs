//! CSV read record by record, each with the line that it begins at, none longer than an event may be.

use std::io::{BufRead, BufReader, Read};

use super::{
    entry::FileError,
    metered::{Meter, Metered},
};

/// The records of a CSV file behind its first row.
pub struct CsvText {
    reader: csv::Reader<Metered<BufReader<Box<dyn Read>>>>,
    meter: Meter,
    record: csv::ByteRecord,
    /// 1 where lines end with CR and LF: the reader ends a record at the CR, and counts lines by the LF behind it.
    behind: u64,
    /// The names in the first row.
    pub names: Vec<String>,
}

impl CsvText {
    /// Reads the first row. A byte order mark, as spreadsheets write it, is no part of the first name.
    pub fn new(input: Box<dyn Read>, meter: &Meter) -> Result<Self, FileError> {
        let mut input = BufReader::new(input);
        let first = input.fill_buf()?;
        let end = first.iter().position(|byte| *byte == b'\n');
        let behind = end.and_then(|end| first.get(end.checked_sub(1)?)).is_some_and(|byte| *byte == b'\r').into();
        let input = Metered::new(input, meter);
        let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(true).from_reader(input);
        let headers = reader.byte_headers().map_err(|error| fault(error, meter, 1))?;
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_start_matches('\u{feff}').trim().to_owned();
        let names = headers.iter().map(name).collect();
        meter.begin_record();
        Ok(Self { reader, meter: meter.clone(), record: csv::ByteRecord::new(), behind, names })
    }

    /// The first row.
    pub fn header(&self) -> String {
        text(&csv::ByteRecord::from(self.names.clone()))
    }

    /// The next record and its line; none at the end.
    pub fn next(&mut self) -> Option<Result<(u64, &csv::ByteRecord), FileError>> {
        let line = self.reader.position().line() + self.behind;
        self.meter.begin_record();
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {
                // Where blank lines were passed over, the record knows better.
                let line = self.record.position().map_or(line, |position| position.line() + self.behind);
                Some(Ok((line, &self.record)))
            }
            Ok(false) => None,
            Err(error) => Some(Err(fault(error, &self.meter, line))),
        }
    }
}

fn fault(error: csv::Error, meter: &Meter, line: u64) -> FileError {
    match error.into_kind() {
        _ if meter.is_too_long() => FileError::TooLong { line },
        csv::ErrorKind::Io(error) => FileError::Io(error),
        other => FileError::Io(std::io::Error::other(format!("{other:?}"))),
    }
}

/// The record as it was, or as another CSV reader would read it.
pub fn text(record: &csv::ByteRecord) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let written = writer.write_byte_record(record).map(|()| writer.into_inner().unwrap_or_default());
    String::from_utf8_lossy(&written.unwrap_or_default()).trim_end_matches('\n').to_owned()
}
