//! A command to a device as it is asked for and told of: `/api/devices/{device}/commands`.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{IdempotencyKey, Micros, Qos, TopicName, Topics};

/// What a device is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRequest {
    /// The device.
    pub device: String,
    /// Where it is published, if not where the configuration says.
    pub topic: Option<TopicName>,
    /// Where the device answers, if not where the configuration says.
    pub answer_topic: Option<TopicName>,
    /// The application message.
    pub payload: Vec<u8>,
    /// With which QoS it is published.
    pub qos: Qos,
    /// MQTT 5 properties in wire form, without those that a command needs itself.
    pub properties: Vec<u8>,
    /// Seconds in which the device must have answered, 1 or more; if not as the configuration says.
    pub expiry: Option<u32>,
    /// The name of this request.
    pub key: Option<IdempotencyKey>,
    /// Where its caller may have it published, whatever access rules say; none for callers whom nobody knows, for whom
    /// the rules hold that are for clients without an account.
    pub granted: Option<Topics>,
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandState {
    /// On record, and not published: nobody subscribes to its topic.
    Waiting,
    /// Published: it waits in the device's session, or is on its way.
    Sent,
    /// The device's session has acknowledged it.
    Delivered,
    /// The device has answered.
    Completed,
    /// Its time has passed without an answer.
    Expired,
}

/// One command.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandInfo {
    /// Its id: the correlation id of its events, and, as text, the correlation data that the device gets.
    pub id: Uuid,
    /// The device.
    pub device: String,
    /// How far it has come.
    pub state: CommandState,
    /// Where it is published.
    pub topic: String,
    /// Where the device answers.
    pub response_topic: String,
    /// With which QoS it is published.
    pub qos: u8,
    /// When it was asked for.
    pub requested_at: Micros,
    /// When nobody waits for it any more.
    pub expires_at: Micros,
    /// When the device's session has acknowledged it.
    pub delivered_at: Option<Micros>,
    /// When the device has answered.
    pub completed_at: Option<Micros>,
    /// The `data` of the event of its completion, with the answer. Null where there is none yet, in lists, and once the
    /// journal does not have it any more.
    pub completion: Option<Box<RawValue>>,
}

/// Commands of a device, newest first.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandPage {
    /// The newest.
    pub commands: Vec<CommandInfo>,
    /// Whether there are more that are still known.
    pub has_more: bool,
}

/// A command and whether an earlier request of the same name has asked for it.
#[derive(Clone, Debug)]
pub struct CommandTold {
    /// How it is.
    pub command: CommandInfo,
    /// Whether it had been asked for before.
    pub is_repeated: bool,
}
