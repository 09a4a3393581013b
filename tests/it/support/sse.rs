//! A Server-Sent Events client that keeps every line, so that a test can assert on all of them.

use reqwest::{Response, StatusCode, header};
use serde_json::Value;

use super::within;

/// One event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `event:`; none for the unnamed events that `onmessage` gets.
    pub event: Option<String>,
    /// `id:`.
    pub id: Option<String>,
    /// `data:`, its lines joined.
    pub data: String,
    /// `retry:`.
    pub retry: Option<String>,
}

impl Frame {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }
}

/// An open stream.
pub struct Sse {
    response: Response,
    received: Vec<u8>,
    /// The id that `connected` came with: where the stream begins.
    pub position: String,
    /// Comment lines so far.
    pub comments: usize,
}

impl Sse {
    /// Opens the stream as the holder of a key or a token.
    pub async fn open_as(token: &str, url: &str, last_event_id: Option<&str>) -> Self {
        let (mut stream, first) = Self::begin_as(Some(token), url, last_event_id).await;
        stream.position = first.id.unwrap_or_default();
        stream
    }

    /// Opens a stream that begins with a snapshot: its first message has no id.
    pub async fn open_snapshot(url: &str) -> Self {
        let (stream, first) = Self::begin(url, None).await;
        assert_eq!(first.id, None);
        stream
    }

    /// Opens the stream, after the event of this id if one is given, and takes its first message,
    /// `connected`.
    pub async fn open(url: &str, last_event_id: Option<&str>) -> Self {
        let (mut stream, first) = Self::begin(url, last_event_id).await;
        stream.position = first.id.expect("`connected` has an id");
        stream
    }

    async fn begin(url: &str, last_event_id: Option<&str>) -> (Self, Frame) {
        Self::begin_as(None, url, last_event_id).await
    }

    async fn begin_as(token: Option<&str>, url: &str, last_event_id: Option<&str>) -> (Self, Frame) {
        let mut request = reqwest::Client::new().get(url).header(header::ACCEPT, "text/event-stream");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = within("the stream's head", request.send()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert!(content_type.starts_with("text/event-stream"), "{content_type}");
        let mut stream = Self { response, received: Vec::new(), position: String::new(), comments: 0 };
        let first = stream.next().await.expect("the stream begins");
        assert_eq!((first.event.as_deref(), first.json()["type"].as_str()), (None, Some("connected")), "{first:?}");
        (stream, first)
    }

    /// The next frame with data; none at the stream's end.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut frame = Frame::default();
        let mut data = Vec::new();
        while let Some(line) = self.line().await {
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" if line.is_empty() && !data.is_empty() => {
                    frame.data = data.join("\n");
                    return Some(frame);
                }
                "" if line.is_empty() => {}
                "" => self.comments += 1,
                "data" => data.push(value),
                "event" => frame.event = Some(value),
                "id" => frame.id = Some(value),
                "retry" => frame.retry = Some(value),
                other => panic!("a field that the standard does not know: {other:?}"),
            }
        }
        None
    }

    /// The next event: its id and itself.
    pub async fn event(&mut self) -> (String, Value) {
        let frame = self.next().await.expect("the stream goes on");
        assert_eq!(frame.event, None, "{frame:?}");
        (frame.id.clone().unwrap_or_else(|| panic!("without id: {frame:?}")), frame.json())
    }

    /// Events up to and with the first that is `last`.
    pub async fn until(&mut self, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let (_, event) = self.event().await;
            let done = last(&event);
            events.push(event);
            if done {
                return events;
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end_matches(['\r', '\n']).to_owned());
            }
            let chunk = within("more of the stream", self.response.chunk()).await.ok()??;
            self.received.extend(chunk);
        }
    }
}
