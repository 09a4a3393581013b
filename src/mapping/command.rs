//! What happens to commands, as events: `devices.command.requested`, `.delivered`, `.completed` and `.expired`.
//!
//! Each has the command's id as its `correlationId`. `data` is `{"commandId":…,"device":…}` and what the record has
//! besides; what was sent and what was answered are in it as events have payloads, in `request` and `answer`.

use uuid::Uuid;

use super::{
    decode::{Birth, Decoder},
    event_id::JournalBits,
    into_text, payload,
};
use crate::types::{
    Command, CommandChange, Kept, Micros, PublishProperties, Reliability, Source, SynapEvent, subject_id,
    write_json_string,
};

const REQUESTED: &str = "devices.command.requested";
const DELIVERED: &str = "devices.command.delivered";
const COMPLETED: &str = "devices.command.completed";
const EXPIRED: &str = "devices.command.expired";

/// The event of a record. `journal` gives its id.
pub fn event<'a>(command: &Command<'a>, journal: JournalBits, user_id: &'a str) -> SynapEvent<'a> {
    let event_type = match command.change {
        CommandChange::Requested(_) => REQUESTED,
        CommandChange::Delivered { .. } => DELIVERED,
        CommandChange::Completed(_) => COMPLETED,
        CommandChange::Expired { .. } => EXPIRED,
    };
    SynapEvent {
        sequence: command.sequence,
        id: journal.event_id(command.sequence, command.received),
        event_type: event_type.into(),
        subject_id: subject_id(command.device),
        subject_type: super::table::DEVICE,
        device: Some(command.device),
        topic: None,
        data: data(command, journal).into(),
        metadata: metadata(command).into(),
        user_id,
        source: Source::System,
        timestamp: command.received,
        correlation_id: Some(command.id),
        reliability: Reliability::Guaranteed,
        streamed: true,
        kept: Kept::Event,
        rejected: None,
        message_key: None,
    }
}

/// An object in the making.
struct Members(Vec<u8>);

impl Members {
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        write_json_string(name, &mut self.0);
        self.0.push(b':');
        &mut self.0
    }

    fn text(&mut self, name: &str, text: &str) {
        write_json_string(text, self.name(name));
    }

    fn time(&mut self, name: &str, time: Micros) {
        let out = self.name(name);
        out.push(b'"');
        time.write(out);
        out.push(b'"');
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.name(name).extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn id(&mut self, name: &str, id: Uuid) {
        self.text(name, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }

    fn payload(&mut self, name: &str, payload: &[u8], properties: PublishProperties<'_>, topic: &str) {
        let decoder = Decoder::Auto.or_told_by(properties.content_type(), topic);
        let data = payload::data(payload, decoder, &Birth::default());
        self.name(name).extend_from_slice(data.object.as_bytes());
    }

    fn end(mut self) -> String {
        self.0.push(b'}');
        into_text(self.0)
    }
}

fn data(command: &Command<'_>, journal: JournalBits) -> String {
    let mut members = Members(Vec::with_capacity(512));
    members.id("commandId", command.id);
    members.text("device", command.device);
    if let CommandChange::Requested(order) = command.change {
        members.text("topic", order.topic);
        members.text("responseTopic", order.answer_topic);
        members.name("qos").push(b'0' + u8::from(order.qos));
        members.time("expiresAt", order.expires);
        if !order.key.is_empty() {
            members.text("idempotencyKey", order.key);
        }
        members.payload("request", order.payload, order.properties, order.topic);
        return members.end();
    }
    members.time("requestedAt", command.requested);
    let seconds = super::presence::seconds(command.requested, command.received);
    members.name("seconds").extend_from_slice(seconds.as_bytes());
    match command.change {
        CommandChange::Requested(_) => {}
        CommandChange::Delivered { client_id } => members.text("clientId", client_id),
        CommandChange::Completed(answer) => {
            members.text("clientId", answer.client_id);
            members.flag("late", answer.is_late);
            members.text("answerTopic", answer.topic);
            members.id("answerEventId", journal.event_id(answer.sequence, answer.received));
            if let Some(content_type) = answer.properties.content_type() {
                members.text("contentType", content_type);
            }
            members.payload("answer", answer.payload, answer.properties, answer.topic);
        }
        CommandChange::Expired { was_sent, was_delivered } => {
            members.flag("sent", was_sent);
            members.flag("delivered", was_delivered);
        }
    }
    members.end()
}

fn metadata(command: &Command<'_>) -> String {
    let mut members = Members(Vec::with_capacity(192));
    members.text("version", "v1");
    members.id("commandId", command.id);
    members.name("sequence").extend_from_slice(itoa::Buffer::new().format(command.sequence.0).as_bytes());
    members.time("receivedAt", command.received);
    members.text("reliability", Reliability::Guaranteed.as_str());
    members.text("device", command.device);
    members.end()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::types::{CommandAnswer, CommandOrder, Qos, Sequence};

    fn told(change: CommandChange<'_>, requested: i64) -> (String, Option<Uuid>, Value) {
        let command = Command {
            sequence: Sequence(9),
            received: Micros::saturating(1_769_860_800_500_000),
            id: Uuid::from_u128(7),
            device: "\"7\"",
            requested: Micros::saturating(requested),
            change,
        };
        let event = event(&command, JournalBits::new(Uuid::from_u128(5)), "owner");
        (event.event_type.to_string(), event.correlation_id, serde_json::from_str(&event.data).unwrap())
    }

    #[test]
    fn each_step_of_a_command_is_an_event_that_its_id_correlates() {
        let id = Uuid::from_u128(7);
        let order = CommandOrder {
            topic: "a/b",
            answer_topic: "a/c",
            qos: Qos::AtLeastOnce,
            expires: Micros::saturating(1_769_860_860_000_000),
            key: "",
            digest: Uuid::nil(),
            properties: PublishProperties::new(&[]),
            payload: b"3",
        };
        let (kind, correlation, data) = told(CommandChange::Requested(order), 0);
        assert_eq!((kind.as_str(), correlation), (REQUESTED, Some(id)));
        assert_eq!(
            data,
            json!({
                "commandId": id.to_string(), "device": "\"7\"", "topic": "a/b", "responseTopic": "a/c", "qos": 1,
                "expiresAt": "2026-01-31T12:01:00.000000Z", "request": {"value": 3},
            })
        );
        let answer = CommandAnswer {
            sequence: Sequence(8),
            received: Micros::saturating(1_769_860_800_400_000),
            topic: "a/c",
            client_id: "pump",
            is_late: false,
            properties: PublishProperties::new(&[]),
            payload: b"{\"ok\": true}",
        };
        let (kind, _, data) = told(CommandChange::Completed(answer), 1_769_860_800_000_000);
        assert_eq!(kind, COMPLETED);
        assert_eq!(
            (&data["seconds"], &data["answer"], &data["late"]),
            (&json!(0.5), &json!({"ok": true}), &json!(false))
        );
        let (kind, _, data) = told(CommandChange::Expired { was_sent: true, was_delivered: false }, 0);
        assert_eq!((kind.as_str(), &data["sent"], &data["delivered"]), (EXPIRED, &json!(true), &json!(false)));
        let (kind, _, data) = told(CommandChange::Delivered { client_id: "pump" }, 0);
        assert_eq!((kind.as_str(), &data["clientId"]), (DELIVERED, &json!("pump")));
    }
}
