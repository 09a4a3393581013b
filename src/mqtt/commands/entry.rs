//! What is known of one command, and its row in the store.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{Command, CommandInfo, CommandOrder, CommandState, Micros, Qos, Sequence};

/// Publications of one command that are remembered: one that is published again and again is so for a device that
/// comes and goes without an acknowledgement.
const REMEMBERED: usize = 16;

/// What is on record of a command, but for what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub id: Uuid,
    pub device: Box<str>,
    pub topic: Box<str>,
    pub answer_topic: Box<str>,
    qos: u8,
    /// The record of its request.
    pub order: u64,
    requested: i64,
    expires: i64,
    /// The name of its request; empty where it has none.
    pub key: Box<str>,
    pub digest: Uuid,
    /// Publications that carry it, oldest first.
    pub sent: Vec<u64>,
    /// Sessions of the device that the last one was given to.
    pub holders: Vec<u64>,
    /// Whether it is to be published: somebody subscribes to its topic who has not got it.
    pub is_wanted: bool,
    delivered: Option<i64>,
    /// The publication that answers it, until its completion is on record.
    pub answer: Option<u64>,
    /// The record of its completion, and when that was.
    completed: Option<(u64, i64)>,
    expired: Option<i64>,
}

impl Entry {
    pub fn new(command: &Command<'_>, order: &CommandOrder<'_>) -> Self {
        Self {
            id: command.id,
            device: command.device.into(),
            topic: order.topic.into(),
            answer_topic: order.answer_topic.into(),
            qos: order.qos.into(),
            order: command.sequence.0,
            requested: command.received.get(),
            expires: order.expires.get(),
            key: order.key.into(),
            digest: order.digest,
            sent: Vec::new(),
            holders: Vec::new(),
            is_wanted: false,
            delivered: None,
            answer: None,
            completed: None,
            expired: None,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn decode(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }

    pub fn requested(&self) -> Micros {
        Micros::saturating(self.requested)
    }

    pub fn expires(&self) -> Micros {
        Micros::saturating(self.expires)
    }

    /// The QoS that it is published with.
    pub fn qos(&self) -> Qos {
        Qos::try_from(self.qos).unwrap_or(Qos::AtLeastOnce)
    }

    /// Whether an answer is waited for.
    pub const fn is_open(&self) -> bool {
        self.completed.is_none() && self.expired.is_none()
    }

    pub const fn is_completed(&self) -> bool {
        self.completed.is_some()
    }

    pub const fn is_expired(&self) -> bool {
        self.expired.is_some()
    }

    pub const fn is_delivered(&self) -> bool {
        self.delivered.is_some()
    }

    /// Whether it may have to be published, again or for the first time.
    pub fn may_be_sent(&self) -> bool {
        self.is_open() && !self.is_delivered() && (self.sent.is_empty() || self.qos() > Qos::AtMostOnce)
    }

    /// Whether what it says may have to be read again.
    pub fn is_needed(&self) -> bool {
        self.may_be_sent() || self.is_wanted
    }

    /// When it came to its end.
    pub fn ended(&self) -> Option<Micros> {
        let completed = self.completed.map(|(_, at)| at);
        completed.or(self.expired).map(Micros::saturating)
    }

    pub fn note_sent(&mut self, sequence: Sequence) -> Option<u64> {
        self.is_wanted = false;
        self.sent.push(sequence.0);
        (self.sent.len() > REMEMBERED).then(|| self.sent.remove(0))
    }

    pub const fn note_delivered(&mut self, at: Micros) {
        self.delivered = Some(at.get());
        self.is_wanted = false;
    }

    pub const fn note_completed(&mut self, record: Sequence, at: Micros) {
        self.completed = Some((record.0, at.get()));
        (self.answer, self.is_wanted) = (None, false);
    }

    pub const fn note_expired(&mut self, at: Micros) {
        self.expired = Some(at.get());
        self.is_wanted = false;
    }

    pub fn state(&self) -> CommandState {
        match self {
            Self { completed: Some(_), .. } => CommandState::Completed,
            Self { expired: Some(_), .. } => CommandState::Expired,
            Self { delivered: Some(_), .. } => CommandState::Delivered,
            _ if self.sent.is_empty() => CommandState::Waiting,
            _ => CommandState::Sent,
        }
    }

    /// The record of its completion.
    pub fn completion(&self) -> Option<Sequence> {
        self.completed.map(|(sequence, _)| Sequence(sequence))
    }

    pub fn info(&self) -> CommandInfo {
        CommandInfo {
            id: self.id,
            device: self.device.to_string(),
            state: self.state(),
            topic: self.topic.to_string(),
            response_topic: self.answer_topic.to_string(),
            qos: self.qos,
            requested_at: self.requested(),
            expires_at: self.expires(),
            delivered_at: self.delivered.map(Micros::saturating),
            completed_at: self.completed.map(|(_, at)| Micros::saturating(at)),
            completion: None,
        }
    }
}
