//! What records do to commands. Part of [`Dispatch`], which applies each record once it is durable, live and at a start
//! alike; what follows for the journal is left to `acts`.

use uuid::Uuid;

use super::{desk::is_of_device, entry::Entry};
use crate::{
    mqtt::{
        dispatch::Dispatch,
        publishing::CLIENT_ID,
        session::Session,
        topic_match::{literal_prefix, split_share},
    },
    types::{Command, CommandChange, Publication, Sequence, TopicFilter},
};

impl Dispatch {
    /// Takes in what has happened to a command.
    pub(in crate::mqtt) fn note_command(&mut self, command: &Command<'_>) {
        let at = command.received;
        match command.change {
            CommandChange::Requested(order) => {
                let targets = self.routing.targets(order.topic);
                let is_wanted = !targets.sessions.is_empty() || !targets.groups.is_empty();
                let mut entry = Entry::new(command, &order);
                entry.is_wanted = is_wanted;
                if is_wanted {
                    self.commands.due.insert(entry.order);
                }
                self.commands.add(entry);
            }
            CommandChange::Delivered { .. } => self.change_command(command.id, |entry| entry.note_delivered(at)),
            CommandChange::Completed(_) => {
                self.change_command(command.id, |entry| entry.note_completed(command.sequence, at));
            }
            CommandChange::Expired { .. } => self.change_command(command.id, |entry| entry.note_expired(at)),
        }
        self.keep_command_rows();
    }

    /// Looks whether a publication is that of a command, or an answer to one.
    pub(in crate::mqtt) fn note_command_traffic(&mut self, publication: &Publication<'_>) {
        if self.commands.is_empty() {
            return;
        }
        if publication.client_id == CLIENT_ID
            && let Some(order) = self.command_of(publication)
        {
            self.note_command_sent(order, publication.sequence);
        } else if let Some(order) = self.command_answered_by(publication) {
            let sequence = publication.sequence.0;
            self.commands.change(order, |entry| entry.answer = Some(sequence));
            self.commands.due.insert(order);
            self.keep_command_rows();
        }
    }

    /// Somebody has subscribed: commands that wait for that are to be published.
    pub(in crate::mqtt) fn note_command_subscriber(&mut self, session: &Session, text: &str) {
        if self.commands.is_empty() {
            return;
        }
        let Some((_, text)) = split_share(text) else { return };
        let Ok(filter) = text.parse::<TopicFilter>() else { return };
        let prefix = literal_prefix(text).trim_end_matches('/');
        let matching = self.commands.to_send(prefix).filter(|(topic, _)| filter.matches(topic));
        let matching: Vec<u64> = matching.map(|(_, order)| order).collect();
        for order in matching {
            let Some(entry) = self.commands.get(order) else { continue };
            let clients = &self.broker.settings.devices;
            let is_new = !entry.holders.contains(&session.id.0);
            // Others who subscribe have it, or had their chance; the device must get it.
            if entry.sent.is_empty() || (is_new && is_of_device(clients, session, &entry.device, &entry.topic)) {
                self.commands.change(order, |entry| entry.is_wanted = true);
                self.commands.due.insert(order);
            }
        }
        self.keep_command_rows();
    }

    /// The command that a publication of the bridge's own carries.
    fn command_of(&self, publication: &Publication<'_>) -> Option<u64> {
        let id = Uuid::try_parse_ascii(publication.properties.correlation_data()?).ok()?;
        let order = self.commands.order_of(id)?;
        let entry = self.commands.get(order)?;
        (&*entry.topic == publication.topic && entry.is_open()).then_some(order)
    }

    fn note_command_sent(&mut self, order: u64, sequence: Sequence) {
        let Some(entry) = self.commands.get(order) else { return };
        let (clients, targets) = (&self.broker.settings.devices, self.routing.targets(&entry.topic));
        let sessions = targets.sessions.iter().map(|target| &target.session);
        let holders = sessions.filter(|session| is_of_device(clients, session, &entry.device, &entry.topic));
        let holders = holders.map(|session| session.id.0).collect();
        self.commands.change(order, |entry| {
            entry.note_sent(sequence);
            entry.holders = holders;
        });
        self.keep_command_rows();
    }

    /// The command that a publication answers, if it does: the one that it names, or, where it names none, as a client
    /// of MQTT 3.1.1 cannot, the only one that is waiting for an answer at this topic.
    fn command_answered_by(&self, publication: &Publication<'_>) -> Option<u64> {
        let waiting = self.commands.answered_at(publication.topic)?;
        if let Some(data) = publication.properties.correlation_data() {
            let order = self.commands.order_of(Uuid::try_parse_ascii(data).ok()?)?;
            let is_unanswered = self.commands.get(order).is_some_and(|entry| entry.answer.is_none());
            return (is_unanswered && waiting.contains(&order)).then_some(order);
        }
        let is_out = |entry: &&Entry| !entry.sent.is_empty() && entry.answer.is_none();
        let mut out = waiting.iter().filter_map(|order| self.commands.get(*order)).filter(is_out);
        match (out.next(), out.next()) {
            (Some(only), None) => Some(only.order),
            _ => None,
        }
    }

    fn change_command(&mut self, id: Uuid, change: impl FnOnce(&mut Entry)) {
        if let Some(order) = self.commands.order_of(id) {
            self.commands.change(order, change);
        }
    }

    pub(super) fn keep_command_rows(&mut self) {
        for (order, row) in self.commands.take_rows() {
            self.ledger.changes.set_command(order, row);
        }
    }
}
