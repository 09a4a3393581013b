//! Answers that wait for the disk, in the order of the packets they answer [MQTT-4.6.0-2].

use std::{collections::VecDeque, sync::Arc};

use super::codec::{Ack, PacketType, ProtocolVersion, ReasonCode};
use crate::{
    journal::{Batch, Outcome},
    types::Sequence,
};

/// An answer that a client gets once its record is durable.
#[derive(Debug)]
pub enum Answer {
    /// To a QoS 1 PUBLISH.
    Puback(u16),
    /// To a QoS 2 PUBLISH.
    Pubrec(u16),
    /// To a PUBREL.
    Pubcomp(u16),
    /// Another packet, encoded.
    Packet(Vec<u8>),
}

/// What answers wait for.
#[derive(Debug)]
pub enum Condition {
    /// An append of this connection.
    Settled(Arc<Batch>),
    /// A record of an earlier connection.
    Durable(Sequence),
    /// Nothing: the append was refused at once.
    Refused,
}

/// An answer that could not be given.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There is no room, and the version or the packet has no way to say so.
    Full,
    /// The journal has failed.
    Failed,
}

#[derive(Debug)]
struct Group {
    condition: Condition,
    answers: Answers,
}

/// Answers to packets that came together.
#[derive(Debug, Default)]
pub struct Answers {
    list: Vec<Answer>,
    publications: usize,
    repeats: Sequence,
}

impl Answers {
    /// Adds an answer.
    pub fn push(&mut self, answer: Answer) {
        self.publications += usize::from(answer.is_to_publish());
        self.list.push(answer);
    }

    /// Adds the answer to a repeated packet, whose record was appended before; the end of
    /// numbers means: in this same batch.
    pub fn repeat(&mut self, answer: Answer, sequence: Sequence) {
        if sequence != Sequence(u64::MAX) {
            self.repeats = self.repeats.max(sequence);
        }
        self.push(answer);
    }

    /// PUBLISH packets among what is answered.
    #[must_use]
    pub const fn publications(&self) -> usize {
        self.publications
    }

    /// What the answers wait for when nothing was appended with them.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        Condition::Durable(self.repeats)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Answer> {
        self.list.iter()
    }
}

/// The answers that a connection owes.
#[derive(Debug, Default)]
pub struct AnswerQueue {
    groups: VecDeque<Group>,
    publications: usize,
}

impl AnswerQueue {
    /// Adds answers that go out together.
    pub fn push(&mut self, condition: Condition, answers: Answers) {
        if !answers.list.is_empty() {
            self.publications += answers.publications;
            self.groups.push_back(Group { condition, answers });
        }
    }

    /// PUBLISH packets without an answer so far.
    #[must_use]
    pub const fn publications(&self) -> usize {
        self.publications
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Encodes every answer that is due. `refused` is told the packet identifiers of QoS 2
    /// messages that were refused: they are not held.
    ///
    /// # Errors
    /// [`Unanswered`]; the connection must be closed.
    pub fn settle(
        &mut self,
        durable: Sequence,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
        mut refused: impl FnMut(u16),
    ) -> Result<Settled, Unanswered> {
        let mut settled = Settled::default();
        while let Some(group) = self.groups.front() {
            let accepted = match &group.condition {
                Condition::Settled(batch) => match batch.outcome() {
                    Outcome::Pending => break,
                    Outcome::Durable => true,
                    Outcome::Refused => false,
                    Outcome::Failed => return Err(Unanswered::Failed),
                },
                Condition::Durable(sequence) if *sequence > durable => break,
                Condition::Durable(_) => true,
                Condition::Refused => false,
            };
            let Some(group) = self.groups.pop_front() else { break };
            for answer in group.answers.list {
                self.publications -= usize::from(answer.is_to_publish());
                if accepted {
                    settled.acknowledged += u64::from(answer.is_to_publish());
                    answer.accept(version, out);
                } else {
                    settled.refused += u64::from(answer.is_to_publish());
                    answer.refuse(version, out, &mut refused)?;
                }
            }
        }
        if self.groups.is_empty() {
            self.groups = VecDeque::new();
        }
        Ok(settled)
    }
}

/// What [`AnswerQueue::settle`] has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Publications acknowledged.
    pub acknowledged: u64,
    /// Publications refused.
    pub refused: u64,
}

impl Answer {
    const fn is_to_publish(&self) -> bool {
        matches!(self, Self::Puback(_) | Self::Pubrec(_))
    }

    fn accept(self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Self::Puback(id) => Ack::success(id).encode(PacketType::Puback, version, out),
            Self::Pubrec(id) => Ack::success(id).encode(PacketType::Pubrec, version, out),
            Self::Pubcomp(id) => Ack::success(id).encode(PacketType::Pubcomp, version, out),
            Self::Packet(packet) => out.extend_from_slice(&packet),
        }
    }

    /// Only 5.0 can refuse a publication; nothing can refuse a PUBREL.
    fn refuse(
        self,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
        refused: &mut impl FnMut(u16),
    ) -> Result<(), Unanswered> {
        let reason = ReasonCode::QuotaExceeded;
        match (self, version) {
            (Self::Puback(packet_id), ProtocolVersion::V5) => {
                Ack { packet_id, reason }.encode(PacketType::Puback, version, out);
            }
            (Self::Pubrec(packet_id), ProtocolVersion::V5) => {
                refused(packet_id);
                Ack { packet_id, reason }.encode(PacketType::Pubrec, version, out);
            }
            (Self::Pubrec(packet_id), ProtocolVersion::V311) => {
                refused(packet_id);
                return Err(Unanswered::Full);
            }
            _ => return Err(Unanswered::Full),
        }
        Ok(())
    }
}
