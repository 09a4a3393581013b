//! Events from a Parquet file, ours or another program's with the same columns: ids as UUIDs or text, times in any
//! unit, `data` and `metadata` as text. Some thousand rows are in memory at a time.

use std::{borrow::Cow, collections::VecDeque, fs::File};

use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int64Type},
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    schema::types::ColumnDescriptor,
};
use uuid::Uuid;

use super::{
    entry::{Entry, FieldError, FileError},
    event_json::COLUMNS,
    fields::Fields,
    metered::Meter,
};
use crate::types::{ImportedEvent, Micros, write_json_string};

/// Rows that are read at a time.
const BATCH_ROWS: usize = 1_000;

/// Reads events row by row.
pub struct ParquetEvents {
    file: SerializedFileReader<File>,
    /// What each column is.
    columns: Vec<Column>,
    origin: String,
    meter: Meter,
    bytes: u64,
    rows: u64,
    /// The row group that is read next.
    group: usize,
    /// Readers of the row group at hand.
    readers: Vec<Reader>,
    /// Rows that were read, as a value or none for each column.
    batch: VecDeque<Vec<Option<String>>>,
    row: u64,
    is_over: bool,
}

/// A column of the file: the field that it is, and how its values become text.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Uuid,
    /// A time, of which so many are a microsecond or make one.
    Time(Unit),
}

#[derive(Clone, Copy)]
enum Unit {
    Millis,
    Micros,
    Nanos,
}

enum Reader {
    Bytes(Box<ColumnReaderImpl<ByteArrayType>>),
    Fixed(Box<ColumnReaderImpl<FixedLenByteArrayType>>),
    Number(Box<ColumnReaderImpl<Int64Type>>),
}

impl ParquetEvents {
    pub fn new(file: File, meter: &Meter, origin: &str) -> Result<Self, FileError> {
        let bytes = file.metadata()?.len();
        let file = SerializedFileReader::new(file)?;
        let metadata = file.metadata().file_metadata();
        let columns: Vec<Column> =
            metadata.schema_descr().columns().iter().map(|column| describe(column)).collect::<Result<_, _>>()?;
        for needed in ["id", "type", "timestamp", "userId", "data"] {
            if !columns.iter().any(|column| column.name == needed) {
                return Err(FileError::Schema(format!("there is no {needed:?}")));
            }
        }
        let rows = metadata.num_rows().max(1).unsigned_abs();
        Ok(Self {
            columns,
            origin: origin.to_owned(),
            meter: meter.clone(),
            bytes,
            rows,
            group: 0,
            readers: Vec::new(),
            batch: VecDeque::new(),
            row: 0,
            is_over: false,
            file,
        })
    }

    fn read(&mut self) -> Result<Option<Entry<ImportedEvent>>, FileError> {
        while self.batch.is_empty() {
            if self.readers.is_empty() && !self.open_group()? {
                return Ok(None);
            }
            self.read_batch()?;
        }
        let Some(row) = self.batch.pop_front() else { return Ok(None) };
        self.row += 1;
        self.meter.set((u128::from(self.bytes) * u128::from(self.row) / u128::from(self.rows)) as u64);
        let text = self.text(&row);
        let found = self.event(row);
        Ok(Some(Entry { line: self.row, text, found }))
    }

    fn open_group(&mut self) -> Result<bool, FileError> {
        if self.group >= self.file.num_row_groups() {
            return Ok(false);
        }
        let group = self.file.get_row_group(self.group)?;
        self.group += 1;
        for index in 0..self.columns.len() {
            self.readers.push(match group.get_column_reader(index)? {
                ColumnReader::ByteArrayColumnReader(reader) => Reader::Bytes(Box::new(reader)),
                ColumnReader::FixedLenByteArrayColumnReader(reader) => Reader::Fixed(Box::new(reader)),
                ColumnReader::Int64ColumnReader(reader) => Reader::Number(Box::new(reader)),
                _ => return Err(FileError::Schema("a column has another type than the schema says".to_owned())),
            });
        }
        Ok(true)
    }

    /// Fills the batch; at the end of the row group, lets go of its readers instead.
    fn read_batch(&mut self) -> Result<(), FileError> {
        let mut rows = None;
        for (column, reader) in self.columns.iter().zip(&mut self.readers) {
            let values = reader.read(column.form)?;
            let count = *rows.get_or_insert(values.len());
            if count != values.len() {
                return Err(ParquetError::General("columns of one row group differ in length".to_owned()).into());
            }
            self.batch.resize_with(count, Vec::new);
            self.batch.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
        }
        if self.batch.is_empty() {
            self.readers.clear();
        }
        Ok(())
    }

    fn event(&self, row: Vec<Option<String>>) -> Result<ImportedEvent, FieldError> {
        let mut fields = Fields::default();
        for (column, value) in self.columns.iter().zip(row) {
            *fields.named(column.name) = value.map(Cow::Owned);
        }
        fields.event(&self.origin)
    }

    /// The row as a line of JSON.
    fn text(&self, row: &[Option<String>]) -> String {
        let mut out = vec![b'{'];
        for (column, value) in self.columns.iter().zip(row) {
            let Some(value) = value else { continue };
            if out.len() > 1 {
                out.push(b',');
            }
            write_json_string(column.name, &mut out);
            out.push(b':');
            match column.name {
                "data" | "metadata" => out.extend_from_slice(value.as_bytes()),
                _ => write_json_string(value, &mut out),
            }
        }
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Iterator for ParquetEvents {
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

/// What a column is, where it is one of an event's.
fn describe(column: &ColumnDescriptor) -> Result<Column, FileError> {
    use parquet::basic::Type;
    let path = column.path().string();
    let known = COLUMNS.iter().find(|known| **known == path);
    let name = *known.ok_or_else(|| FileError::Schema(format!("{path:?} is none of them")))?;
    let form = match (column.physical_type(), name) {
        (_, _) if column.max_rep_level() > 0 => None,
        (Type::INT64, "timestamp") => unit(column).map(Form::Time),
        (Type::FIXED_LEN_BYTE_ARRAY, _) if column.type_length() == 16 && name.ends_with("d") => Some(Form::Uuid),
        (Type::BYTE_ARRAY, _) => Some(Form::Text),
        _ => None,
    };
    let form = form.ok_or_else(|| FileError::Schema(format!("{name:?} has a type that it cannot have")))?;
    Ok(Column { name, form })
}

fn unit(column: &ColumnDescriptor) -> Option<Unit> {
    let unit = match column.logical_type_ref() {
        Some(LogicalType::Timestamp(kind)) => Some(kind.unit),
        _ => None,
    };
    match (unit, column.converted_type()) {
        (Some(TimeUnit::MILLIS), _) | (None, ConvertedType::TIMESTAMP_MILLIS) => Some(Unit::Millis),
        (Some(TimeUnit::MICROS), _) | (None, ConvertedType::TIMESTAMP_MICROS) => Some(Unit::Micros),
        (Some(TimeUnit::NANOS), _) => Some(Unit::Nanos),
        _ => None,
    }
}

impl Reader {
    /// The next values as text; none of them at the end of the row group.
    fn read(&mut self, form: Form) -> Result<Vec<Option<String>>, FileError> {
        let mut levels = Vec::new();
        let (present, rows): (Vec<String>, usize) = match self {
            Self::Bytes(reader) => {
                let mut values: Vec<ByteArray> = Vec::with_capacity(BATCH_ROWS);
                let (rows, ..) = reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
                (values.iter().map(|value| text_of(value.data())).collect::<Result<_, _>>()?, rows)
            }
            Self::Fixed(reader) => {
                let mut values: Vec<FixedLenByteArray> = Vec::with_capacity(BATCH_ROWS);
                let (rows, ..) = reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
                (values.iter().map(|value| uuid_of(value.data())).collect::<Result<_, _>>()?, rows)
            }
            Self::Number(reader) => {
                let mut values: Vec<i64> = Vec::with_capacity(BATCH_ROWS);
                let (rows, ..) = reader.read_records(BATCH_ROWS, Some(&mut levels), None, &mut values)?;
                (values.iter().map(|value| time_of(*value, form)).collect(), rows)
            }
        };
        if levels.is_empty() {
            return Ok(present.into_iter().map(Some).collect());
        }
        let most = levels.iter().copied().max().unwrap_or_default().max(1);
        let mut present = present.into_iter();
        Ok(levels.iter().take(rows).map(|level| if *level == most { present.next() } else { None }).collect())
    }
}

fn text_of(bytes: &[u8]) -> Result<String, ParquetError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ParquetError::General("a text is not UTF-8".to_owned()))
}

fn uuid_of(bytes: &[u8]) -> Result<String, ParquetError> {
    let id = Uuid::from_slice(bytes).map_err(|_| ParquetError::General("an id does not have 16 bytes".to_owned()))?;
    Ok(id.to_string())
}

/// As RFC 3339 has it; what no event can have stays a number, and is refused as such.
fn time_of(value: i64, form: Form) -> String {
    let micros = match form {
        Form::Time(Unit::Millis) => value.checked_mul(1_000),
        Form::Time(Unit::Nanos) => Some(value.div_euclid(1_000)),
        _ => Some(value),
    };
    micros.and_then(|micros| Micros::new(micros).ok()).map_or_else(|| value.to_string(), |time| time.to_string())
}
