//! The tables that a batch has rows for.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The events.
    Events,
    /// Numbers of events.
    Measurements,
}

impl Table {
    /// How many there are.
    pub const COUNT: usize = 2;

    /// All, in the order in which they are written.
    pub const ALL: [Self; Self::COUNT] = [Self::Events, Self::Measurements];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Measurements => "mqtt.measurements",
        }
    }

    /// The name of the temporary table for rows that are looked at first.
    pub const fn incoming(self) -> &'static str {
        match self {
            Self::Events => "incoming_events",
            Self::Measurements => "incoming_measurements",
        }
    }

    /// The columns of its rows, in the order of `RowBatch`.
    pub const fn columns(self) -> &'static str {
        match self {
            Self::Events => super::rows::COLUMNS,
            Self::Measurements => "time, device, metric, value, event",
        }
    }
}
