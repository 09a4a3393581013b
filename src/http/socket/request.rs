//! What a client says: each message an object with an `op`, and with a `ref` that its answer repeats.

use axum::http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::super::{commands::Order, parameters, problem::Problem, publish::Publication};
use crate::{
    limits,
    stream::{DeviceName, Filter, Form, Mode, Start, Subscription},
    types::{IdempotencyKey, LastEventId, TopicFilter},
};

/// Longest `ref`, in bytes.
const MAXIMUM_REFERENCE_BYTES: usize = 128;

/// A message that is understood.
pub enum Request {
    /// Everything that these ask for, as well.
    Subscribe { filter: Filter, options: Options },
    /// These no more; without any, nothing.
    Unsubscribe { filter: Filter },
    /// On from this event.
    Resume { after: LastEventId },
    /// All events up to this one have been worked through.
    Acknowledge { id: LastEventId },
    /// A message to devices.
    Publish { publication: Box<Publication>, key: Option<IdempotencyKey> },
    /// Something that a device is to do and to answer.
    Command { device: String, order: Box<Order>, key: Option<IdempotencyKey> },
    /// Whether anyone is there.
    Ping,
}

/// How a stream begins and goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub mode: Option<Mode>,
    pub after: Option<LastEventId>,
    pub snapshot: bool,
    /// Events that may be under way before the first is acknowledged.
    pub window: Option<usize>,
}

impl Options {
    /// Whether nothing is said of it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The subscription that begins with these.
    pub fn begin(&self, filter: Filter, form: Form) -> Subscription {
        Subscription {
            filter,
            start: self.after.map_or(Start::Now, Start::After),
            mode: self.mode.unwrap_or_default(),
            form,
            snapshot: self.snapshot,
            ..Subscription::default()
        }
    }
}

/// What every message has.
#[derive(Deserialize)]
struct Head {
    op: String,
    r#ref: Option<Value>,
}

/// Values of each kind and options, by the names that they have in a URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "ref")]
    _ref: Option<IgnoredAny>,
    #[serde(default)]
    topic: Vec<String>,
    #[serde(default)]
    r#type: Vec<String>,
    #[serde(default)]
    device: Vec<String>,
    mode: Option<String>,
    rate: Option<u32>,
    after: Option<String>,
    #[serde(default)]
    snapshot: bool,
    window: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "ref")]
    _ref: Option<IgnoredAny>,
    after: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "ref")]
    _ref: Option<IgnoredAny>,
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Publish {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "ref")]
    _ref: Option<IgnoredAny>,
    publication: Box<Publication>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Command {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "ref")]
    _ref: Option<IgnoredAny>,
    device: String,
    command: Box<Order>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ping {
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(rename = "ref")]
    _ref: Option<IgnoredAny>,
}

/// Reads a message: its `ref`, where it has one, and what it asks for.
pub fn parse(text: &str) -> (Option<Value>, Result<Request, Problem>) {
    let head: Head = match serde_json::from_str(text) {
        Ok(head) => head,
        Err(error) => return (None, Err(wrong(format!("expected an object with an `op`: {error}")))),
    };
    let reference = head.r#ref;
    let is_short = |reference: &Value| match reference {
        Value::String(text) => text.len() <= MAXIMUM_REFERENCE_BYTES,
        other => other.is_number(),
    };
    if !reference.as_ref().is_none_or(is_short) {
        return (None, Err(Problem::parameter("ref", "expected a number, or text of at most 128 bytes")));
    }
    (reference, request(&head.op, text))
}

fn request(op: &str, text: &str) -> Result<Request, Problem> {
    Ok(match op {
        "subscribe" => {
            let lists: Lists = read(text)?;
            Request::Subscribe { options: lists.options()?, filter: lists.filter()? }
        }
        "unsubscribe" => {
            let lists: Lists = read(text)?;
            if !lists.options()?.is_empty() {
                return Err(wrong("unsubscribe takes `topic`, `type` and `device` only"));
            }
            Request::Unsubscribe { filter: lists.filter()? }
        }
        "resume" => Request::Resume { after: id("after", &read::<Resume>(text)?.after)? },
        "acknowledge" => Request::Acknowledge { id: id("id", &read::<Acknowledge>(text)?.id)? },
        "publish" => {
            let Publish { publication, idempotency_key, .. } = read(text)?;
            Request::Publish { publication, key: key(idempotency_key)? }
        }
        "command" => {
            let Command { device, command, idempotency_key, .. } = read(text)?;
            Request::Command { device, order: command, key: key(idempotency_key)? }
        }
        "ping" => {
            read::<Ping>(text)?;
            Request::Ping
        }
        other => {
            let known = "subscribe, unsubscribe, resume, acknowledge, publish, command or ping";
            return Err(Problem::parameter("op", format_args!("expected {known}, not {other:?}")));
        }
    })
}

impl Lists {
    fn filter(&self) -> Result<Filter, Problem> {
        for (name, values) in [("topic", &self.topic), ("type", &self.r#type), ("device", &self.device)] {
            if values.len() > limits::STREAM_FILTERS {
                return Err(parameters::too_many(name, values.len()));
            }
        }
        let topic = |text: &String| text.parse::<TopicFilter>().map_err(|error| Problem::parameter("topic", error));
        Ok(Filter {
            topics: self.topic.iter().map(topic).collect::<Result<_, _>>()?,
            types: self.r#type.clone(),
            devices: self.device.iter().map(|name| DeviceName::from(name.as_str())).collect(),
            ..Filter::default()
        })
    }

    fn options(&self) -> Result<Options, Problem> {
        let is_said = self.mode.is_some() || self.rate.is_some();
        let mode = is_said.then(|| parameters::mode(self.mode.as_deref(), self.rate)).transpose()?;
        let after = self.after.as_deref().map(|text| id("after", text)).transpose()?;
        let most = limits::MAXIMUM_STREAM_WINDOW;
        if self.window.is_some_and(|window| !(1..=most).contains(&window)) {
            return Err(Problem::parameter("window", format_args!("expected a number of events from 1 to {most}")));
        }
        Ok(Options { mode, after, snapshot: self.snapshot, window: self.window })
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
}

fn key(text: Option<String>) -> Result<Option<IdempotencyKey>, Problem> {
    let key = text.map(|key| key.parse()).transpose();
    key.map_err(|error| Problem::parameter("idempotencyKey", error))
}

fn id(name: &'static str, text: &str) -> Result<LastEventId, Problem> {
    text.parse().map_err(|error| Problem::parameter(name, error))
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
