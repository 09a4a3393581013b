//! What happens to a command, as the journal has it.

use uuid::Uuid;

use super::{Micros, PublishProperties, Qos, Sequence};

/// A borrowed view of one record of a command: something that a device is asked to do, and to answer. It says all that
/// its event does, so that making the event takes no other record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When it was appended.
    pub received: Micros,
    /// The command.
    pub id: Uuid,
    /// The device that it is for.
    pub device: &'a str,
    /// When it was asked for; of the record that says so, its own time.
    pub requested: Micros,
    /// What has happened.
    pub change: CommandChange<'a>,
}

/// What has happened to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandChange<'a> {
    /// Somebody has asked for it.
    Requested(CommandOrder<'a>),
    /// The device's session has acknowledged it.
    Delivered {
        /// Whose session.
        client_id: &'a str,
    },
    /// The device has answered.
    Completed(CommandAnswer<'a>),
    /// Its time has passed without an answer.
    Expired {
        /// Whether it was ever published.
        was_sent: bool,
        /// Whether the device had acknowledged it.
        was_delivered: bool,
    },
}

/// What a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandOrder<'a> {
    /// Where it is published.
    pub topic: &'a str,
    /// Where the answer is published.
    pub answer_topic: &'a str,
    /// With which QoS it is published.
    pub qos: Qos,
    /// When nobody waits for it any more.
    pub expires: Micros,
    /// The name that whoever asked gave it; empty where there is none.
    pub key: &'a str,
    /// Of everything that the request says.
    pub digest: Uuid,
    /// Properties of MQTT 5.0 that the request names.
    pub properties: PublishProperties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

/// What a device has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandAnswer<'a> {
    /// The publication's place in the journal.
    pub sequence: Sequence,
    /// When it was appended.
    pub received: Micros,
    /// Where it was published.
    pub topic: &'a str,
    /// Who has.
    pub client_id: &'a str,
    /// Whether the command had expired.
    pub is_late: bool,
    /// What it says of itself.
    pub properties: PublishProperties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}
