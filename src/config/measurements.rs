//! `[timescale.measurements]`: how long the numbers of events are kept, and their rollups.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    timescale::CENTURY,
    units::{optional_duration, write_optional_duration},
};

/// In milliseconds. Rows go by chunks of a day, and what computes rollups must have had its time before.
const DAY: u64 = 86_400_000;

/// Ages at which measurements go; without them, never. What is finer goes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct MeasurementSettings {
    /// Of the values themselves.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_duration::<_, DAY, CENTURY>",
        serialize_with = "write_optional_duration"
    )]
    pub retention: Option<Duration>,
    /// Of the rollups of a minute.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_duration::<_, DAY, CENTURY>",
        serialize_with = "write_optional_duration"
    )]
    pub retention_1m: Option<Duration>,
    /// Of the rollups of an hour.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_duration::<_, DAY, CENTURY>",
        serialize_with = "write_optional_duration"
    )]
    pub retention_1h: Option<Duration>,
    /// Age at which values are compressed; without it, never.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_duration::<_, DAY, CENTURY>",
        serialize_with = "write_optional_duration"
    )]
    pub compress_after: Option<Duration>,
}

impl MeasurementSettings {
    /// Whether nothing is set.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong between its keys, each with the key to change.
    pub(super) fn check(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if !goes_first(self.retention, self.retention_1m) {
            let problem =
                "must not be shorter than `timescale.measurements.retention`: what rollups are made of goes first";
            problems.push(("retention_1m", problem));
        }
        if !goes_first(self.retention_1m, self.retention_1h) {
            let problem =
                "must not be shorter than `timescale.measurements.retention_1m`: what rollups are made of goes first";
            problems.push(("retention_1h", problem));
        }
        if self.retention.zip(self.compress_after).is_some_and(|(keep, compress)| compress >= keep) {
            problems.push(("compress_after", "must be shorter than `timescale.measurements.retention`"));
        }
        problems
    }
}

/// Whether `finer` is kept no longer than `coarser`; what has no age stays for ever.
fn goes_first(finer: Option<Duration>, coarser: Option<Duration>) -> bool {
    coarser.is_none_or(|coarser| finer.is_some_and(|finer| finer <= coarser))
}
