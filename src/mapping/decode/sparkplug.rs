//! Sparkplug B 3.0 payloads (chapter 6) as JSON.
//!
//! `{"timestamp": ms, "seq": n, "metrics": [{"name": "Temperature", "alias": 1, "timestamp": ms,
//! "type": "Double", "value": 21.5}]}`, and where they are there: `uuid`, `body`; of a metric
//! `historical`, `transient`, `metadata`, `properties`. A data set is `{"columns": …, "types": …,
//! "rows": …}`, a template `{"version", "ref", "definition", "metrics", "parameters"}`. Arrays
//! (types 22 to 34) stay bytes.
//!
//! Integers are two's complement of the size that their type says. Where a message leaves out
//! the type or the name, the [`Birth`] gives it; where that is not known, an integer is taken
//! for unsigned, and the metric has its alias alone.

use super::{
    DecodeError,
    birth::Birth,
    json::Json,
    protobuf::{Fields, Value},
};
use crate::limits;

/// Names of the types, by their number.
const TYPES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// The JSON of a Sparkplug B payload.
pub fn to_json(payload: &[u8], birth: &Birth) -> Result<String, DecodeError> {
    let mut out = Json::default();
    out.open(b'{')?;
    let head = [(1, "timestamp"), (3, "seq"), (4, "uuid"), (5, "body")];
    members(&mut out, payload, &head)?;
    metrics(&mut out, Fields(payload).of(2), birth, limits::MAXIMUM_DECODED_DEPTH)?;
    out.close(b'}');
    Ok(out.into_text())
}

/// What a metric is, apart from what it says.
#[derive(Clone, Copy, Default)]
pub struct Heading<'a> {
    pub name: Option<&'a str>,
    pub alias: Option<u64>,
    pub datatype: Option<u64>,
}

impl<'a> Heading<'a> {
    /// Reads a metric's.
    pub fn read(metric: &'a [u8]) -> Result<Self, DecodeError> {
        let mut heading = Self::default();
        for field in Fields(metric) {
            match field? {
                (1, value) => heading.name = Some(value.text()?),
                (2, value) => heading.alias = Some(value.varint()?),
                (4, value) => heading.datatype = Some(value.varint()?),
                _ => {}
            }
        }
        Ok(heading)
    }
}

fn metrics<'a>(
    out: &mut Json,
    metrics: impl Iterator<Item = Result<Value<'a>, DecodeError>>,
    birth: &Birth,
    depth: usize,
) -> Result<(), DecodeError> {
    out.key("metrics")?;
    out.open(b'[')?;
    for found in metrics {
        metric(out, found?.bytes()?, birth, depth)?;
    }
    out.close(b']');
    Ok(())
}

fn metric(out: &mut Json, metric: &[u8], birth: &Birth, depth: usize) -> Result<(), DecodeError> {
    let heading = birth.complete(Heading::read(metric)?);
    out.open(b'{')?;
    if let Some(name) = heading.name {
        out.key("name")?;
        out.string(name)?;
    }
    members(out, metric, &[(2, "alias"), (3, "timestamp")])?;
    if let Some(datatype) = heading.datatype {
        out.key("type")?;
        type_name(out, datatype)?;
    }
    out.key("value")?;
    let is_null = matches!(Fields(metric).of(7).last(), Some(Ok(Value::Varint(1..))));
    let value = Fields(metric).filter(|field| matches!(field, Ok((10..=18, _)) | Err(_))).last().transpose()?;
    match value {
        Some((field, value)) if !is_null => metric_value(out, field, value, heading.datatype, depth)?,
        _ => out.null()?,
    }
    flags(out, metric, &[(5, "historical"), (6, "transient")])?;
    for field in Fields(metric) {
        match field? {
            (8, value) => metadata(out, value.bytes()?)?,
            (9, value) => {
                out.key("properties")?;
                properties(out, value.bytes()?, deeper(depth)?)?;
            }
            _ => {}
        }
    }
    out.close(b'}');
    Ok(())
}

fn metric_value(
    out: &mut Json,
    field: u32,
    value: Value<'_>,
    datatype: Option<u64>,
    depth: usize,
) -> Result<(), DecodeError> {
    match field {
        16 => out.bytes(value.bytes()?),
        17 => data_set(out, value.bytes()?),
        18 => template(out, value.bytes()?, deeper(depth)?),
        _ => scalar(out, field - 10, value, datatype),
    }
}

/// A value of one of the six scalar fields, which every message has in the same order.
fn scalar(out: &mut Json, field: u32, value: Value<'_>, datatype: Option<u64>) -> Result<(), DecodeError> {
    match (field, value) {
        (0 | 1, Value::Varint(bits)) => match datatype {
            Some(1) => out.integer(bits as i8),
            Some(2) => out.integer(bits as i16),
            Some(3) => out.integer(bits as i32),
            Some(4) => out.integer(bits.cast_signed()),
            _ => out.integer(bits),
        },
        (2, Value::Fixed32(bits)) => out.float32(f32::from_bits(bits)),
        (3, Value::Fixed64(bits)) => out.float64(f64::from_bits(bits)),
        (4, Value::Varint(bits)) => out.boolean(bits != 0),
        (5, value) => out.string(value.text()?),
        _ => Err(DecodeError::Sparkplug),
    }
}

/// A value among the six fields from `first` on; `null` where there is none.
fn scalar_of(out: &mut Json, message: &[u8], first: u32, datatype: Option<u64>) -> Result<(), DecodeError> {
    let is_value =
        |field: &Result<(u32, _), _>| !matches!(field, Ok((number, _)) if !(first..first + 6).contains(number));
    match Fields(message).filter(is_value).last().transpose()? {
        Some((field, value)) => scalar(out, field - first, value, datatype),
        None => out.null(),
    }
}

fn data_set(out: &mut Json, set: &[u8]) -> Result<(), DecodeError> {
    let types = numbers(set, 3)?;
    out.open(b'{')?;
    out.key("columns")?;
    out.open(b'[')?;
    for name in Fields(set).of(2) {
        out.string(name?.text()?)?;
    }
    out.close(b']');
    out.key("types")?;
    out.open(b'[')?;
    for datatype in &types {
        type_name(out, *datatype)?;
    }
    out.close(b']');
    out.key("rows")?;
    out.open(b'[')?;
    for row in Fields(set).of(4) {
        out.open(b'[')?;
        for (column, element) in Fields(row?.bytes()?).of(1).enumerate() {
            scalar_of(out, element?.bytes()?, 1, types.get(column).copied())?;
        }
        out.close(b']');
    }
    out.close(b']');
    out.close(b'}');
    Ok(())
}

/// A repeated integer, packed or not.
fn numbers(message: &[u8], field: u32) -> Result<Vec<u64>, DecodeError> {
    let mut numbers = Vec::new();
    for value in Fields(message).of(field) {
        match value? {
            Value::Varint(number) => numbers.push(number),
            Value::Bytes(packed) => numbers.extend(super::protobuf::packed(packed)?),
            _ => return Err(DecodeError::Sparkplug),
        }
    }
    Ok(numbers)
}

fn template(out: &mut Json, template: &[u8], depth: usize) -> Result<(), DecodeError> {
    out.open(b'{')?;
    members(out, template, &[(1, "version"), (4, "ref")])?;
    flags(out, template, &[(5, "definition")])?;
    metrics(out, Fields(template).of(2), &Birth::default(), depth)?;
    out.key("parameters")?;
    out.open(b'[')?;
    for parameter in Fields(template).of(3) {
        let parameter = parameter?.bytes()?;
        let datatype = Fields(parameter).of(2).last().transpose()?.map(Value::varint).transpose()?;
        out.open(b'{')?;
        members(out, parameter, &[(1, "name")])?;
        if let Some(datatype) = datatype {
            out.key("type")?;
            type_name(out, datatype)?;
        }
        out.key("value")?;
        scalar_of(out, parameter, 3, datatype)?;
        out.close(b'}');
    }
    out.close(b']');
    out.close(b'}');
    Ok(())
}

fn metadata(out: &mut Json, metadata: &[u8]) -> Result<(), DecodeError> {
    out.key("metadata")?;
    out.open(b'{')?;
    flags(out, metadata, &[(1, "multiPart")])?;
    let names = ["contentType", "size", "seq", "fileName", "fileType", "md5", "description"];
    for (field, name) in (2..).zip(names) {
        members(out, metadata, &[(field, name)])?;
    }
    out.close(b'}');
    Ok(())
}

/// Properties: keys and values lie in two lists of the same length.
fn properties(out: &mut Json, set: &[u8], depth: usize) -> Result<(), DecodeError> {
    out.open(b'{')?;
    for (key, value) in Fields(set).of(1).zip(Fields(set).of(2)) {
        out.key(key?.text()?)?;
        property(out, value?.bytes()?, depth)?;
    }
    out.close(b'}');
    Ok(())
}

fn property(out: &mut Json, value: &[u8], depth: usize) -> Result<(), DecodeError> {
    let datatype = Fields(value).of(1).last().transpose()?.map(Value::varint).transpose()?;
    if let Some(set) = Fields(value).of(9).last().transpose()? {
        return properties(out, set.bytes()?, deeper(depth)?);
    }
    let Some(list) = Fields(value).of(10).last().transpose()? else {
        return scalar_of(out, value, 3, datatype);
    };
    out.open(b'[')?;
    for set in Fields(list.bytes()?).of(1) {
        properties(out, set?.bytes()?, deeper(depth)?)?;
    }
    out.close(b']');
    Ok(())
}

/// Members that are as they are on the wire, if they are there; the last counts.
fn members(out: &mut Json, message: &[u8], wanted: &[(u32, &str)]) -> Result<(), DecodeError> {
    for &(field, name) in wanted {
        let Some(value) = Fields(message).of(field).last().transpose()? else { continue };
        out.key(name)?;
        match value {
            Value::Varint(number) => out.integer(number)?,
            Value::Bytes(bytes) if name == "body" => out.bytes(bytes)?,
            other => out.string(other.text()?)?,
        }
    }
    Ok(())
}

/// Booleans that are said only where they are true.
fn flags(out: &mut Json, message: &[u8], wanted: &[(u32, &str)]) -> Result<(), DecodeError> {
    for &(field, name) in wanted {
        if Fields(message).of(field).last().transpose()?.is_some_and(|value| value != Value::Varint(0)) {
            out.key(name)?;
            out.boolean(true)?;
        }
    }
    Ok(())
}

fn type_name(out: &mut Json, datatype: u64) -> Result<(), DecodeError> {
    match usize::try_from(datatype).ok().and_then(|number| TYPES.get(number)) {
        Some(name) => out.string(name),
        None => out.integer(datatype),
    }
}

fn deeper(depth: usize) -> Result<usize, DecodeError> {
    // Each of these levels is up to four of the JSON.
    depth.checked_sub(4).ok_or(DecodeError::Depth)
}
