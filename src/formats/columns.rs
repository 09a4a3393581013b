//! The columns of a Parquet file with events.

/// As Parquet writes a schema. Ids are UUIDs, times UTC in microseconds, `data` and `metadata` JSON; so readers show
/// them as such.
pub const SCHEMA: &str = "
message event {
    required fixed_len_byte_array(16) id (UUID);
    required byte_array type (STRING);
    required int64 timestamp (TIMESTAMP(MICROS,true));
    required byte_array userId (STRING);
    required byte_array subjectId (STRING);
    required byte_array subjectType (STRING);
    required byte_array data (JSON);
    optional byte_array metadata (JSON);
    optional fixed_len_byte_array(16) correlationId (UUID);
    optional fixed_len_byte_array(16) causationId (UUID);
    optional byte_array source (STRING);
    required byte_array version (STRING);
}";
