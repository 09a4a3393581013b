//! What the dispatcher puts on record for commands: their publication, their completion, the end of their time.
//!
//! Each follows from the table, so a start finds what is left to do. What is on its way to the disk is not done again
//! meanwhile; what the journal refuses is tried again at the next upkeep.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{entry::Entry, publication_properties, slice_with};
use crate::{
    journal::{Batch, BatchBuilder, Clock, Journal, Origin, Outcome, Record, Slice, SystemClock},
    limits,
    mqtt::{dispatch::Dispatch, publishing::CLIENT_ID},
    types::{Command, CommandAnswer, CommandChange, Micros, Publication, PublishProperties, Sequence},
};

/// What is on its way to the disk.
struct UnderWay {
    batch: Arc<Batch>,
    acts: Vec<(u64, Act)>,
}

/// What is done for one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Publish,
    /// With the record of its delivery, where that was not made before.
    Complete {
        with_delivery: bool,
    },
    Expire,
}

/// The dispatcher's part of it that the table does not have.
#[derive(Default)]
pub struct CommandActs {
    under_way: Vec<UnderWay>,
    /// Commands of which something is.
    busy: BTreeSet<u64>,
    /// To be tried again.
    later: BTreeSet<u64>,
}

impl CommandActs {
    /// Looks what has become of earlier acts, and does what is due.
    pub(in crate::mqtt) async fn act(&mut self, dispatch: &mut Dispatch) {
        if !self.under_way.is_empty() {
            self.settle(dispatch);
        }
        if dispatch.commands.due.is_empty() {
            return;
        }
        let due: Vec<u64> = {
            let due = dispatch.commands.due.iter().copied();
            due.filter(|order| !self.busy.contains(order)).take(limits::COMMANDS_AT_ONCE).collect()
        };
        let (mut batch, mut acts) = (BatchBuilder::default(), Vec::new());
        let now = SystemClock.now();
        for order in due {
            dispatch.commands.due.remove(&order);
            if let Some(act) = record(dispatch, order, now, &mut batch).await {
                acts.push((order, act));
            }
            if batch.bytes() >= limits::COMMANDS_BATCH_BYTES {
                break;
            }
        }
        if acts.is_empty() {
            return;
        }
        let published = acts.iter().filter(|(_, act)| *act == Act::Publish).count();
        match dispatch.broker.journal.append(batch, None).await {
            Ok(batch) => {
                dispatch.broker.statistics.received.add(published as u64);
                self.busy.extend(acts.iter().map(|(order, _)| *order));
                self.under_way.push(UnderWay { batch, acts });
            }
            Err(error) => {
                tracing::debug!(%error, "what happens to commands cannot be recorded now");
                self.give_back(dispatch, acts);
            }
        }
    }

    /// What time brings: commands that are over, those to be tried again, and those to be forgotten.
    pub(in crate::mqtt) fn keep_up(&mut self, dispatch: &mut Dispatch, now: Micros) {
        if dispatch.commands.is_empty() {
            return;
        }
        dispatch.commands.due.append(&mut self.later);
        let over = dispatch.commands.over(now);
        dispatch.commands.due.extend(over);
        dispatch.commands.forget_before(before(now, limits::COMMANDS_KEPT));
        dispatch.keep_command_rows();
    }

    fn settle(&mut self, dispatch: &mut Dispatch) {
        let applied = dispatch.broker.applied();
        let is_settled = |way: &mut UnderWay| match way.batch.outcome() {
            Outcome::Pending => false,
            // The table knows of it from there on.
            Outcome::Durable => applied >= way.batch.last(),
            Outcome::Refused | Outcome::Failed => true,
        };
        let settled: Vec<UnderWay> = self.under_way.extract_if(.., is_settled).collect();
        for UnderWay { batch, acts } in settled {
            for (order, _) in &acts {
                self.busy.remove(order);
            }
            if batch.outcome() == Outcome::Refused {
                self.give_back(dispatch, acts);
            }
        }
    }

    fn give_back(&mut self, dispatch: &Dispatch, acts: Vec<(u64, Act)>) {
        for (order, act) in acts {
            self.later.insert(order);
            if act == (Act::Complete { with_delivery: true })
                && let Some(undelivered) = dispatch.commands.undelivered(order)
            {
                undelivered.is_not_told();
            }
        }
    }
}

/// Adds the records of what is to be done for a command, if anything is.
async fn record(dispatch: &mut Dispatch, order: u64, now: Micros, batch: &mut BatchBuilder) -> Option<Act> {
    let entry = dispatch.commands.get(order)?.clone();
    let journal = dispatch.broker.journal.clone();
    if entry.is_completed() {
        return None;
    }
    if let Some(answer) = entry.answer {
        let recorded = complete(dispatch, &journal, &entry, Sequence(answer), batch).await;
        if recorded.is_none() {
            tracing::error!(command = %entry.id, "the journal has lost the answer to a command");
            dispatch.commands.change(order, |entry| entry.answer = None);
            dispatch.keep_command_rows();
        }
        return recorded;
    }
    if entry.is_expired() {
        return None;
    }
    if entry.expires() <= now {
        let change = CommandChange::Expired { was_sent: !entry.sent.is_empty(), was_delivered: entry.is_delivered() };
        batch.push(&Record::Command(of(&entry, change)));
        return Some(Act::Expire);
    }
    if !entry.is_wanted {
        return None;
    }
    let published = publish(&journal, &entry, now, batch).await;
    if published.is_none() {
        tracing::error!(command = %entry.id, "the journal has lost what a command says");
        dispatch.commands.change(order, |entry| entry.is_wanted = false);
        dispatch.keep_command_rows();
    }
    published
}

async fn publish(journal: &Journal, entry: &Entry, now: Micros, batch: &mut BatchBuilder) -> Option<Act> {
    let slice = slice_with(journal, Sequence(entry.order)).await?;
    let Some(Record::Command(Command { change: CommandChange::Requested(order), .. })) =
        slice.batch().find(Sequence(entry.order))
    else {
        return None;
    };
    let left = entry.expires().get().saturating_sub(now.get()).max(0);
    // Never less than there is: the end of the command's time is on record by itself.
    let seconds = u32::try_from((left + 999_999) / 1_000_000).unwrap_or(u32::MAX).max(1);
    let properties = publication_properties(order.properties, entry.id, order.answer_topic, seconds);
    let publication = Publication {
        sequence: Sequence::ZERO,
        received: Micros::default(),
        topic: order.topic,
        payload: order.payload,
        qos: order.qos,
        retain: false,
        // Of any QoS: whoever asks is told that it was published.
        guaranteed: true,
        client_id: CLIENT_ID,
        properties: PublishProperties::new(&properties),
    };
    batch.push(&Record::Publication { publication, origin: Origin::Plain });
    Some(Act::Publish)
}

async fn complete(
    dispatch: &Dispatch,
    journal: &Journal,
    entry: &Entry,
    answer: Sequence,
    batch: &mut BatchBuilder,
) -> Option<Act> {
    let slice: Slice = slice_with(journal, answer).await?;
    let Some(Record::Publication { publication, .. }) = slice.batch().find(answer) else { return None };
    // Whoever answers has got it, though its acknowledgement may come later.
    let undelivered = dispatch.commands.undelivered(entry.order);
    let with_delivery = undelivered.is_some_and(|undelivered| undelivered.tell(publication.client_id, batch));
    let answer = CommandAnswer {
        sequence: answer,
        received: publication.received,
        topic: publication.topic,
        client_id: publication.client_id,
        is_late: entry.is_expired(),
        properties: publication.properties,
        payload: publication.payload,
    };
    batch.push(&Record::Command(of(entry, CommandChange::Completed(answer))));
    Some(Act::Complete { with_delivery })
}

/// A record of a command, but for its place.
fn of<'a>(entry: &'a Entry, change: CommandChange<'a>) -> Command<'a> {
    Command {
        sequence: Sequence::ZERO,
        received: Micros::default(),
        id: entry.id,
        device: &entry.device,
        requested: entry.requested(),
        change,
    }
}

fn before(now: Micros, time: Duration) -> Micros {
    Micros::saturating(now.get().saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
}
