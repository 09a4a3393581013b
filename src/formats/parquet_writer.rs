//! Events as a Parquet file: rows are gathered into groups, which bound the memory, and written column by column.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type},
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::{parser::parse_message_type, types::ColumnPath},
};
use uuid::Uuid;

use super::{columns::SCHEMA, event_json::EventJson};
use crate::{limits, types::Micros};

/// Gathers and writes. Drop it, and the file has no end, which no reader takes for a whole one.
pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    group: Group,
}

/// The values of one column in the group at hand; of an optional one, those that are there.
struct Column<T> {
    values: Vec<T>,
    /// For an optional column: 1 where a row has a value, 0 where not.
    levels: Vec<i16>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Column<T> {
    fn push(&mut self, value: T) {
        self.values.push(value);
    }

    fn push_optional(&mut self, value: Option<T>) {
        self.levels.push(value.is_some().into());
        self.values.extend(value);
    }

    /// Writes the next column of a group, and empties this one.
    fn write<D: DataType<T = T>, W: Write + Send>(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("a column is missing".to_owned()))?;
        let levels = (!self.levels.is_empty()).then_some(self.levels.as_slice());
        column.typed::<D>().write_batch(&self.values, levels, None)?;
        column.close()?;
        self.values.clear();
        self.levels.clear();
        Ok(())
    }
}

/// The rows that are not written yet.
#[derive(Default)]
struct Group {
    rows: usize,
    bytes: usize,
    id: Column<FixedLenByteArray>,
    event_type: Column<ByteArray>,
    timestamp: Column<i64>,
    user_id: Column<ByteArray>,
    subject_id: Column<ByteArray>,
    subject_type: Column<ByteArray>,
    data: Column<ByteArray>,
    metadata: Column<ByteArray>,
    correlation_id: Column<FixedLenByteArray>,
    causation_id: Column<FixedLenByteArray>,
    source: Column<ByteArray>,
    version: Column<ByteArray>,
}

impl Group {
    fn push(&mut self, event: &EventJson<'_>) -> io::Result<()> {
        let timestamp: Micros = event.timestamp.parse().map_err(io::Error::other)?;
        self.id.push(uuid(event.id)?);
        self.event_type.push(text(&event.r#type));
        self.timestamp.push(timestamp.get());
        self.user_id.push(text(&event.user_id));
        self.subject_id.push(text(&event.subject_id));
        self.subject_type.push(text(&event.subject_type));
        self.data.push(text(event.data.get()));
        self.metadata.push_optional(event.metadata.map(|metadata| text(metadata.get())));
        self.correlation_id.push_optional(event.correlation_id.map(uuid).transpose()?);
        self.causation_id.push_optional(event.causation_id.map(uuid).transpose()?);
        self.source.push_optional(event.source.as_deref().map(text));
        self.version.push(text(event.version));
        self.rows += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows >= limits::PARQUET_GROUP_ROWS || self.bytes >= limits::PARQUET_GROUP_BYTES
    }

    /// In the order of the schema.
    fn write<W: Write + Send>(&mut self, file: &mut SerializedFileWriter<W>) -> Result<(), ParquetError> {
        let mut group = file.next_row_group()?;
        self.id.write::<FixedLenByteArrayType, W>(&mut group)?;
        self.event_type.write::<ByteArrayType, W>(&mut group)?;
        self.timestamp.write::<Int64Type, W>(&mut group)?;
        for column in [&mut self.user_id, &mut self.subject_id, &mut self.subject_type, &mut self.data] {
            column.write::<ByteArrayType, W>(&mut group)?;
        }
        self.metadata.write::<ByteArrayType, W>(&mut group)?;
        self.correlation_id.write::<FixedLenByteArrayType, W>(&mut group)?;
        self.causation_id.write::<FixedLenByteArrayType, W>(&mut group)?;
        self.source.write::<ByteArrayType, W>(&mut group)?;
        self.version.write::<ByteArrayType, W>(&mut group)?;
        (self.rows, self.bytes) = (0, 0);
        group.close().map(drop)
    }
}

impl<W: Write + Send> ParquetWriter<W> {
    pub fn new(out: W) -> io::Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(io::Error::other)?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("synap-mqtt version ", env!("CARGO_PKG_VERSION")).to_owned());
        // What differs in every row gains nothing by a dictionary, and what is JSON nothing by its least and greatest.
        for name in ["id", "timestamp", "data", "metadata"] {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
        for name in ["data", "metadata"] {
            properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
        }
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties.build()));
        Ok(Self { file: file.map_err(io::Error::from)?, group: Group::default() })
    }

    pub fn push(&mut self, json: &str) -> io::Result<()> {
        let event: EventJson<'_> = serde_json::from_str(json)?;
        self.group.push(&event)?;
        self.group.bytes += json.len();
        if self.group.is_full() {
            self.group.write(&mut self.file).map_err(io::Error::from)?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<W> {
        if self.group.rows > 0 {
            self.group.write(&mut self.file).map_err(io::Error::from)?;
        }
        self.file.into_inner().map_err(io::Error::from)
    }
}

fn text(text: &str) -> ByteArray {
    text.as_bytes().to_vec().into()
}

fn uuid(text: &str) -> io::Result<FixedLenByteArray> {
    let id = Uuid::try_parse(text).map_err(io::Error::other)?;
    Ok(ByteArray::from(id.as_bytes().to_vec()).into())
}
