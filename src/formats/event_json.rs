//! An event as it is read again from the JSON that all stores give.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Its fields. `data` and `metadata` stay text: a number beyond `f64` is none of our business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventJson<'a> {
    pub id: &'a str,
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
    pub timestamp: &'a str,
    #[serde(borrow)]
    pub user_id: Cow<'a, str>,
    #[serde(borrow)]
    pub subject_id: Cow<'a, str>,
    #[serde(borrow)]
    pub subject_type: Cow<'a, str>,
    pub data: &'a RawValue,
    pub metadata: Option<&'a RawValue>,
    pub correlation_id: Option<&'a str>,
    pub causation_id: Option<&'a str>,
    #[serde(borrow)]
    pub source: Option<Cow<'a, str>>,
    pub version: &'a str,
}

/// Names of the fields, in the order of the pod's stream.
pub const COLUMNS: [&str; 12] = [
    "id",
    "type",
    "timestamp",
    "userId",
    "subjectId",
    "subjectType",
    "data",
    "metadata",
    "correlationId",
    "causationId",
    "source",
    "version",
];
