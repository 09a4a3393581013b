//! What a message changes, and what is answered to it.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::{
    super::{
        caller,
        commands::{self, Order},
        parameters,
        problem::Problem,
        publish::{Answer, Publication},
        watchers::Transport,
    },
    request::{self, Options, Request},
    session::Session,
    window::Window,
};
use crate::{
    limits,
    stream::{Client, Filter, Subscription},
    types::{CommandInfo, IdempotencyKey, LastEventId, Scope},
};

/// An answer to a message.
#[derive(Serialize)]
struct Reply<T> {
    r#type: &'static str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<Value>,
    #[serde(flatten)]
    rest: T,
}

/// Where the stream is, where there is one.
#[derive(Serialize)]
struct Position {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// How a command is.
#[derive(Serialize)]
struct Told {
    command: CommandInfo,
}

/// What went wrong.
#[derive(Serialize)]
struct Refused {
    problem: Value,
}

impl Session {
    /// Does what a message asks for, and says what came of it; nothing, where that comes later.
    pub(super) async fn answer(&mut self, text: &str) -> Option<Vec<u8>> {
        let (reference, request) = request::parse(text);
        let done = match request {
            Ok(Request::Publish { publication, key }) => {
                return Some(match self.publish(*publication, key).await {
                    Ok(answer) => reply("published", reference, answer),
                    Err(problem) => refuse(reference, &problem),
                });
            }
            Ok(Request::Command { device, order, key }) => return self.command(reference, device, *order, key),
            Ok(Request::Ping) => return Some(reply("pong", reference, Position { id: None })),
            Ok(request) => self.change(request),
            Err(problem) => Err(problem),
        };
        Some(match done {
            Ok(position) => reply("ok", reference, Position { id: position.map(|id| id.to_string()) }),
            Err(problem) => refuse(reference, &problem),
        })
    }

    /// Changes what is streamed. Returns the position that the change is at, where there is one that a client
    /// may resume from.
    fn change(&mut self, request: Request) -> Result<Option<LastEventId>, Problem> {
        let before = self.position();
        match request {
            Request::Subscribe { filter, options } => self.subscribe(filter, &options),
            Request::Unsubscribe { filter } => {
                self.unsubscribe(&filter)?;
                return Ok(before);
            }
            Request::Resume { after } => {
                self.stream()?.resume(after);
                self.window = self.window.take().map(Window::emptied);
                Ok(())
            }
            Request::Acknowledge { id } => self.acknowledge(id),
            Request::Publish { .. } | Request::Command { .. } | Request::Ping => Ok(()),
        }?;
        Ok(self.position())
    }

    fn position(&self) -> Option<LastEventId> {
        let stream = self.stream.as_ref().filter(|stream| !stream.has_snapshot_ahead());
        stream.map(|stream| stream.position())
    }

    fn subscribe(&mut self, filter: Filter, options: &Options) -> Result<(), Problem> {
        let within = caller::topics(&self.caller, Scope::StreamRead)?;
        let Some(stream) = &mut self.stream else {
            let streams = &self.context.services.streams;
            let filter = Filter { within, ..filter };
            let subscription = options.begin(filter, self.form(options.window.is_some()));
            let (watchers, Subscription { mode, filter, .. }) = (&self.context.watchers, &subscription);
            self.watching = Some(watchers.enter(&self.who, Transport::Websocket, *mode, filter));
            self.stream = Some(Box::new(streams.client(subscription, self.context.stop.clone())));
            self.window = options.window.map(Window::new);
            return Ok(());
        };
        if !options.is_empty() {
            return Err(conflict(
                "the stream has begun: `mode`, `rate`, `after`, `snapshot` and `window` are for the first \
                 subscribe; unsubscribe from everything to begin another one",
            ));
        }
        if filter.is_empty() || stream.filter().is_empty() {
            return Err(conflict("nothing to add: either this names nothing, or the stream has everything already"));
        }
        let sum = stream.filter().with(&filter);
        let counts = [("topic", sum.topics.len()), ("type", sum.types.len()), ("device", sum.devices.len())];
        if let Some((name, count)) = counts.into_iter().find(|(_, count)| *count > limits::STREAM_FILTERS) {
            return Err(parameters::too_many(name, count));
        }
        self.watching.iter().for_each(|watching| watching.change(&sum));
        stream.set_filter(sum);
        Ok(())
    }

    fn unsubscribe(&mut self, filter: &Filter) -> Result<(), Problem> {
        let stream = self.stream()?;
        let rest = stream.filter().without(filter);
        // Without any value it would ask for everything.
        if filter.is_empty() || rest.is_empty() {
            (self.stream, self.watching) = (None, None);
            self.window = None;
        } else {
            stream.set_filter(rest.clone());
            self.watching.iter().for_each(|watching| watching.change(&rest));
        }
        Ok(())
    }

    fn acknowledge(&mut self, id: LastEventId) -> Result<(), Problem> {
        let sequence = self.context.services.streams.resolve(id);
        let sequence = sequence.ok_or_else(|| Problem::parameter("id", "expected the id of an event that was sent"))?;
        let window = self.window.as_mut().ok_or_else(|| {
            conflict("there is nothing to acknowledge: the first subscribe has not asked for a `window`")
        })?;
        window.acknowledge(sequence);
        Ok(())
    }

    fn stream(&mut self) -> Result<&mut Client, Problem> {
        self.stream.as_deref_mut().ok_or_else(|| conflict("there is no stream: subscribe first"))
    }

    async fn publish(&mut self, publication: Publication, key: Option<IdempotencyKey>) -> Result<Answer, Problem> {
        let request = publication.request(key, &self.caller)?;
        let published = self.context.services.publisher.publish(request).await?;
        Ok(Answer::new(published, &self.context.services.streams))
    }
}

impl Session {
    /// Gives a command, and answers when the device has, or its time is over. The stream goes on meanwhile.
    fn command(
        &mut self,
        reference: Option<Value>,
        device: String,
        order: Order,
        key: Option<IdempotencyKey>,
    ) -> Option<Vec<u8>> {
        let commands = self.commands.get_or_insert_default();
        if commands.len() >= limits::SOCKET_COMMANDS {
            let detail =
                format!("at most {} commands wait for their answers on one connection", limits::SOCKET_COMMANDS);
            return Some(refuse(reference, &Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)));
        }
        let (context, caller) = (self.context.clone(), self.caller.clone());
        commands.spawn(async move {
            match commands::carry_out(&context, &caller, device, order, key).await {
                Ok(given) => reply("command", reference, Told { command: given.command }),
                Err(problem) => refuse(reference, &problem),
            }
        });
        None
    }
}

fn conflict(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail)
}

fn reply(kind: &'static str, reference: Option<Value>, rest: impl Serialize) -> Vec<u8> {
    // Text and numbers are always JSON.
    serde_json::to_vec(&Reply { r#type: kind, reference, rest }).unwrap_or_default()
}

fn refuse(reference: Option<Value>, problem: &Problem) -> Vec<u8> {
    reply("error", reference, Refused { problem: problem.to_json() })
}
