//! What is looked after, and for how long it is kept.

use std::time::Duration;

use super::policies::interval;

/// A relation whose old rows go.
#[derive(Clone, Copy, Debug)]
pub struct Relation<'a> {
    /// Its name, as SQL writes it.
    pub name: &'a str,
    /// What its rows are, in the log.
    pub rows: &'a str,
    /// Its column of time.
    pub time: &'static str,
    /// By which columns it is compressed, for `timescaledb.compress_segmentby` and `compress_orderby`.
    pub compressed_by: [&'a str; 2],
    /// SQL for a time from which on rows may not go yet, however old they are; null where all may.
    pub held_from: Option<&'static str>,
}

/// Ages at which rows go and are compressed; none: never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ages {
    pub retention: Option<Duration>,
    pub compress_after: Option<Duration>,
}

impl Relation<'_> {
    /// SQL for the time before which rows go at this age.
    pub fn cutoff(&self, age: Duration) -> String {
        let cutoff = format!("now() - interval '{}'", interval(age));
        match self.held_from {
            Some(held_from) => format!("least({cutoff}, ({held_from}))"),
            None => cutoff,
        }
    }
}
