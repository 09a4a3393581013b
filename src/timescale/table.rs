//! The tables that a batch has rows for.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The events.
    Events,
    /// Numbers of events.
    Measurements,
    /// Publications that their route refuses.
    DeadLetters,
}

impl Table {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// All, in the order in which they are written.
    pub const ALL: [Self; Self::COUNT] = [Self::Events, Self::Measurements, Self::DeadLetters];

    /// The name of the temporary table for rows that are looked at first.
    pub const fn incoming(self) -> &'static str {
        match self {
            Self::Events => "incoming_events",
            Self::Measurements => "incoming_measurements",
            Self::DeadLetters => "incoming_dead_letters",
        }
    }
}
