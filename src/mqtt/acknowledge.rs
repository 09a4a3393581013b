//! Answers that wait for the disk, in the order of the packets they answer [MQTT-4.6.0-2].

use std::{collections::VecDeque, sync::Arc};

use super::{
    codec::{Ack, PacketType, ProtocolVersion, ReasonCode},
    connection::Agreement,
};
use crate::{
    journal::{Batch, Outcome},
    types::Sequence,
};

/// Why something that must be on record is refused.
pub const JOURNAL_FULL: &str = "the journal is full";

/// An answer that a client gets once its record is durable.
#[derive(Debug)]
pub enum Answer {
    /// To a QoS 1 PUBLISH.
    Puback(u16),
    /// To a QoS 2 PUBLISH.
    Pubrec(u16),
    /// To a PUBLISH that is not let in, for this reason: there is no record of it. 5.0 only.
    Denied(PacketType, u16, ReasonCode),
    /// To a PUBREL.
    Pubcomp(u16),
    /// The next step after a PUBREC that the client has sent.
    Pubrel(u16),
    /// To a SUBSCRIBE or UNSUBSCRIBE, which is answered once it is in effect.
    Applied {
        /// The answer, encoded.
        accepted: Vec<u8>,
        /// The answer where the change could not be put on record.
        refused: Vec<u8>,
        /// What a SUBSCRIBE asks for, as far as it was granted.
        filters: Vec<Filter>,
    },
}

/// A filter of a SUBSCRIBE that is under way.
#[derive(Debug)]
pub struct Filter {
    /// Its text, with `$share/…`.
    pub text: Box<str>,
    /// Whether the session counts it for the sake of this SUBSCRIBE: it had no such subscription, and no other
    /// under way.
    pub is_counted: bool,
}

/// What a session knows of already whose change is not on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// Of a QoS 2 PUBLISH that came in the append with this last sequence: it is not held.
    Held(u16, Sequence),
    /// Of a PUBREC: the message counts as sent only.
    Receipt(u16),
    /// A subscription that has not come about.
    Subscription(Box<str>),
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
    qos1: usize,
    repeats: Sequence,
    wait_for_effect: bool,
}

impl Answers {
    /// Adds an answer.
    pub fn push(&mut self, answer: Answer) {
        self.wait_for_effect |= matches!(answer, Answer::Applied { .. });
        self.qos1 += usize::from(answer.is_puback());
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

    /// QoS 1 PUBLISH packets among what is answered.
    #[must_use]
    pub const fn qos1(&self) -> usize {
        self.qos1
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

    /// What is subscribed to.
    fn filters(&mut self) -> impl Iterator<Item = &mut Filter> {
        self.list.iter_mut().flat_map(|answer| match answer {
            Answer::Applied { filters, .. } => filters.as_mut_slice(),
            _ => &mut [],
        })
    }
}

/// The answers that a connection owes.
#[derive(Debug, Default)]
pub struct AnswerQueue {
    groups: VecDeque<Group>,
    answers: usize,
    qos1: usize,
    /// Groups that wait for what they have changed to be in effect.
    effects: usize,
}

impl AnswerQueue {
    /// Adds answers that go out together.
    pub fn push(&mut self, condition: Condition, answers: Answers) {
        if !answers.list.is_empty() {
            self.answers += answers.list.len();
            self.qos1 += answers.qos1;
            self.effects += usize::from(answers.wait_for_effect);
            self.groups.push_back(Group { condition, answers });
        }
    }

    /// QoS 1 PUBLISH packets without an answer so far.
    #[must_use]
    pub const fn qos1(&self) -> usize {
        self.qos1
    }

    /// Answers owed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.answers
    }

    /// Whether a subscription is under way. Its messages must not overtake its SUBACK.
    #[must_use]
    pub const fn waits_for_effect(&self) -> bool {
        self.effects > 0
    }

    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Encodes every answer that is due: its record is `durable`, and `applied` where that is what it
    /// waits for. `refused` is told the packet identifiers in appends that were refused.
    ///
    /// # Errors
    /// [`Unanswered`]; the connection must be closed.
    pub fn settle(
        &mut self,
        durable: Sequence,
        applied: Sequence,
        agreement: &Agreement,
        out: &mut Vec<u8>,
        mut refused: impl FnMut(Unrecorded),
    ) -> Result<Settled, Unanswered> {
        let mut settled = Settled::default();
        while let Some(group) = self.groups.front() {
            let accepted = match &group.condition {
                Condition::Settled(batch) => match batch.outcome() {
                    Outcome::Pending => break,
                    Outcome::Durable if group.answers.wait_for_effect && applied < batch.last() => break,
                    Outcome::Durable => true,
                    Outcome::Refused => false,
                    Outcome::Failed => return Err(Unanswered::Failed),
                },
                Condition::Durable(sequence) if *sequence > durable => break,
                Condition::Durable(_) => true,
                Condition::Refused => false,
            };
            let Some(mut group) = self.groups.pop_front() else { break };
            self.answers -= group.answers.list.len();
            self.effects -= usize::from(group.answers.wait_for_effect);
            if !accepted {
                self.pass_counts(&mut group);
                // All of them, also those behind an answer that ends the connection.
                group.each_refused(&mut refused);
            }
            for answer in group.answers.list {
                self.qos1 -= usize::from(answer.is_puback());
                if accepted {
                    let denied = matches!(answer, Answer::Denied(..));
                    settled.acknowledged += u64::from(answer.is_to_publish() && !denied);
                    answer.accept(agreement.version, out);
                } else {
                    settled.refused += u64::from(answer.is_to_publish());
                    answer.refuse(agreement, out)?;
                }
            }
        }
        if self.groups.is_empty() {
            self.groups = VecDeque::new();
        }
        Ok(settled)
    }
}

impl AnswerQueue {
    /// Forgets answers that nobody will get, as far as their appends are settled. `refused` is
    /// told the packet identifiers whose changes are not on record. Whether all are settled.
    pub fn abandon(&mut self, mut refused: impl FnMut(Unrecorded)) -> bool {
        while let Some(mut group) = self.groups.pop_front() {
            let outcome = match &group.condition {
                Condition::Settled(batch) => batch.outcome(),
                Condition::Durable(_) => Outcome::Durable,
                Condition::Refused => Outcome::Refused,
            };
            match outcome {
                Outcome::Pending => {
                    self.groups.push_front(group);
                    return false;
                }
                Outcome::Durable => {}
                Outcome::Refused | Outcome::Failed => {
                    self.pass_counts(&mut group);
                    group.each_refused(&mut refused);
                }
            }
        }
        true
    }

    /// Filters that a refused SUBSCRIBE counts count for a later one that names them, which may be in effect already.
    fn pass_counts(&mut self, refused: &mut Group) {
        for filter in refused.answers.filters().filter(|filter| filter.is_counted) {
            let mut later = self.groups.iter_mut().flat_map(|group| group.answers.filters());
            if let Some(later) = later.find(|later| later.text == filter.text) {
                (later.is_counted, filter.is_counted) = (true, false);
            }
        }
    }
}

impl Group {
    fn each_refused(&self, refused: &mut impl FnMut(Unrecorded)) {
        let held_with = match &self.condition {
            Condition::Settled(batch) => batch.last(),
            Condition::Durable(_) | Condition::Refused => Sequence(u64::MAX),
        };
        for answer in self.answers.iter() {
            match answer {
                Answer::Pubrec(packet_id) => refused(Unrecorded::Held(*packet_id, held_with)),
                Answer::Pubrel(packet_id) => refused(Unrecorded::Receipt(*packet_id)),
                Answer::Applied { filters, .. } => {
                    for filter in filters.iter().filter(|filter| filter.is_counted) {
                        refused(Unrecorded::Subscription(filter.text.clone()));
                    }
                }
                Answer::Puback(_) | Answer::Denied(..) | Answer::Pubcomp(_) => {}
            }
        }
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
    const fn is_puback(&self) -> bool {
        matches!(self, Self::Puback(_) | Self::Denied(..))
    }

    const fn is_to_publish(&self) -> bool {
        matches!(self, Self::Puback(_) | Self::Pubrec(_) | Self::Denied(..))
    }

    fn accept(self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Self::Puback(id) => Ack::success(id).encode(PacketType::Puback, version, None, out),
            Self::Pubrec(id) => Ack::success(id).encode(PacketType::Pubrec, version, None, out),
            Self::Denied(packet, packet_id, reason) => Ack { packet_id, reason }.encode(packet, version, None, out),
            Self::Pubcomp(id) => Ack::success(id).encode(PacketType::Pubcomp, version, None, out),
            Self::Pubrel(id) => Ack::success(id).encode(PacketType::Pubrel, version, None, out),
            Self::Applied { accepted, .. } => out.extend_from_slice(&accepted),
        }
    }

    /// Only 5.0 can refuse a publication; nothing can refuse the later steps of QoS 2.
    fn refuse(self, agreement: &Agreement, out: &mut Vec<u8>) -> Result<(), Unanswered> {
        let (version, reason) = (agreement.version, ReasonCode::QuotaExceeded);
        let why = agreement.explain(JOURNAL_FULL);
        match (self, version) {
            (Self::Puback(packet_id), ProtocolVersion::V5) => {
                Ack { packet_id, reason }.encode(PacketType::Puback, version, why, out);
            }
            (Self::Pubrec(packet_id), ProtocolVersion::V5) => {
                Ack { packet_id, reason }.encode(PacketType::Pubrec, version, why, out);
            }
            (Self::Denied(packet, packet_id, reason), _) => {
                Ack { packet_id, reason }.encode(packet, version, None, out)
            }
            (Self::Applied { refused, .. }, _) => out.extend_from_slice(&refused),
            _ => return Err(Unanswered::Full),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(list: Vec<Answer>) -> Answers {
        let mut answers = Answers::default();
        list.into_iter().for_each(|answer| answers.push(answer));
        answers
    }

    fn settle(
        queue: &mut AnswerQueue,
        durable: u64,
        version: ProtocolVersion,
    ) -> (Vec<u8>, Result<Settled, Unanswered>, Vec<Unrecorded>) {
        let (mut out, mut refused) = (Vec::new(), Vec::new());
        let durable = Sequence(durable);
        let agreement = Agreement {
            version,
            maximum_packet_size: u32::MAX,
            receive_maximum: 1,
            silence: None,
            topic_alias_maximum: 0,
            problem_information: false,
        };
        let result = queue.settle(durable, durable, &agreement, &mut out, |unrecorded| refused.push(unrecorded));
        (out, result, refused)
    }

    #[test]
    fn nothing_overtakes_an_answer_that_waits() {
        let mut queue = AnswerQueue::default();
        queue.push(Condition::Durable(Sequence(7)), answers(vec![Answer::Puback(1)]));
        queue.push(Condition::Durable(Sequence::ZERO), answers(vec![Answer::Puback(2)]));
        assert_eq!(queue.qos1(), 2);
        assert!(settle(&mut queue, 6, ProtocolVersion::V311).0.is_empty());
        let (out, settled, _) = settle(&mut queue, 7, ProtocolVersion::V311);
        assert_eq!(out, [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        assert_eq!(settled, Ok(Settled { acknowledged: 2, refused: 0 }));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_refusal_is_said_in_5_0_and_ends_a_3_1_1_connection() {
        let refused = || answers(vec![Answer::Puback(1), Answer::Pubrec(2)]);
        let mut queue = AnswerQueue::default();
        queue.push(Condition::Refused, refused());
        let (out, settled, released) = settle(&mut queue, 0, ProtocolVersion::V5);
        assert_eq!(out, [0x40, 3, 0, 1, 0x97, 0x50, 3, 0, 2, 0x97]);
        assert_eq!(
            (settled, released),
            (Ok(Settled { acknowledged: 0, refused: 2 }), vec![Unrecorded::Held(2, Sequence(u64::MAX))])
        );
        queue.push(Condition::Refused, refused());
        let (out, settled, _) = settle(&mut queue, 0, ProtocolVersion::V311);
        assert_eq!((out, settled), (vec![], Err(Unanswered::Full)));
    }

    #[test]
    fn a_subscription_that_is_refused_is_not_counted_unless_a_later_one_stands_for_it() {
        let subscribe = |filters: &[(&str, bool)]| {
            let filters =
                filters.iter().map(|(text, is_counted)| Filter { text: (*text).into(), is_counted: *is_counted });
            answers(vec![Answer::Applied { accepted: vec![1], refused: vec![2], filters: filters.collect() }])
        };
        let mut queue = AnswerQueue::default();
        queue.push(Condition::Refused, subscribe(&[("a", true), ("b", true), ("known", false)]));
        queue.push(Condition::Durable(Sequence(9)), subscribe(&[("a", false)]));
        let gone = |text: &str| Unrecorded::Subscription(text.into());
        let (out, _, refused) = settle(&mut queue, 8, ProtocolVersion::V311);
        assert_eq!((out, refused), (vec![2], vec![gone("b")]));
        queue.push(Condition::Refused, subscribe(&[("c", true)]));
        let mut abandoned = Vec::new();
        assert!(queue.abandon(|unrecorded| abandoned.push(unrecorded)));
        assert_eq!(abandoned, [gone("c")]);

        queue.push(Condition::Refused, subscribe(&[("a", true)]));
        queue.push(Condition::Refused, subscribe(&[("a", false)]));
        assert_eq!(settle(&mut queue, 9, ProtocolVersion::V5).2, [gone("a")], "the later one is refused as well");
    }

    #[test]
    fn a_repeated_packet_waits_for_its_first_record() {
        let mut repeated = Answers::default();
        repeated.repeat(Answer::Pubrec(1), Sequence(9));
        let mut queue = AnswerQueue::default();
        queue.push(repeated.condition(), repeated);
        assert!(settle(&mut queue, 8, ProtocolVersion::V5).0.is_empty());
        assert_eq!(settle(&mut queue, 9, ProtocolVersion::V5).0, [0x50, 2, 0, 1]);
    }
}
