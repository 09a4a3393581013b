//! `POST /api/publish`: a message to devices, answered once it is on disk.

use axum::{
    Extension,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{PublishRefusal, caller, problem::Problem, routes::Context};
use crate::{
    auth::web::{Caller, Who},
    limits,
    stream::Streams,
    types::{IdempotencyKey, PublishProperty, PublishRequest, Published, Qos, TopicName},
};

const KEY: &str = "idempotency-key";

/// Longest text and binary data of a property (MQTT 5.0 section 1.5.4).
const MAXIMUM_FIELD_BYTES: usize = u16::MAX as usize;

/// What is to be published, as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publication {
    topic: String,
    /// Any JSON; it is sent as it is written.
    payload: Option<Box<RawValue>>,
    /// Or text.
    text: Option<String>,
    /// Or anything, in Base64.
    base64: Option<String>,
    #[serde(default = "at_least_once")]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: Properties,
}

/// Properties of MQTT 5.0 (section 3.3.2.3) that a publisher sets.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Properties {
    payload_format_indicator: Option<u8>,
    message_expiry_interval: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    /// In Base64.
    correlation_data: Option<String>,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

/// The QoS of whoever does not say one.
pub const fn at_least_once() -> u8 {
    1
}

/// What became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Of the event.
    event_id: Uuid,
    /// A stream that resumes from here has everything behind it.
    last_event_id: String,
    /// Whether an earlier request had done it.
    duplicate: bool,
}

impl Answer {
    pub fn new(published: Published, streams: &Streams) -> Self {
        Self {
            event_id: published.event_id,
            last_event_id: streams.id(published.sequence).to_string(),
            duplicate: published.is_repeated,
        }
    }
}

/// `POST /api/publish`
pub async fn publish(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (publication, key) = read::<Publication>(request, "publication").await?;
    let published = context.services.publisher.publish(publication.request(key, &caller)?).await?;
    let answer = serde_json::to_string(&Answer::new(published, &context.services.streams)).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// What a request asks for, `what`, and the name that it is given.
///
/// # Errors
/// 400, 413 or 415.
pub async fn read<T: DeserializeOwned>(request: Request, what: &str) -> Result<(T, Option<IdempotencyKey>), Problem> {
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let key = key(&parts.headers)?;
    let body = to_bytes(body, limits::PUBLISH_BODY_BYTES).await.map_err(|_| {
        let detail = format!("a request has at most {} bytes", limits::PUBLISH_BODY_BYTES);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    let asked = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is no {what}: {error}")))?;
    Ok((asked, key))
}

/// A page of another origin can send a form or plain text without asking; JSON it cannot.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected a body of the content type application/json"))
}

/// The name that a request is given.
fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map(Some).map_err(|error| Problem::parameter("Idempotency-Key", error))
}

impl Publication {
    /// As the broker takes it of a caller.
    pub fn request(self, key: Option<IdempotencyKey>, caller: &Caller) -> Result<PublishRequest, Problem> {
        let Self { topic, payload, text, base64, qos, retain, properties } = self;
        let topic = topic.parse::<TopicName>().map_err(|error| wrong("topic", error))?;
        caller::check_publish(caller, topic.as_str())?;
        Ok(PublishRequest {
            topic,
            payload: self::payload(payload, text, base64)?,
            qos: Qos::try_from(qos).map_err(|error| wrong("qos", error))?,
            retain,
            properties: properties.write()?,
            key,
            is_granted: *caller.who() != Who::Anyone,
        })
    }
}

/// The application message, in one of the forms that a request has for it.
pub fn payload(json: Option<Box<RawValue>>, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, Problem> {
    match (json, text, base64) {
        (None, None, None) => Ok(Vec::new()),
        (Some(json), None, None) => Ok(String::from(Box::<str>::from(json)).into_bytes()),
        (None, Some(text), None) => Ok(text.into_bytes()),
        (None, None, Some(base64)) => decode("base64", &base64),
        _ => Err(wrong("payload", "expected one of `payload`, `text` and `base64`")),
    }
}

impl Properties {
    /// A property that a command has of its own, where one is named.
    pub fn given_by_commands(&self) -> Option<&'static str> {
        let named = [
            ("messageExpiryInterval", self.message_expiry_interval.is_some()),
            ("responseTopic", self.response_topic.is_some()),
            ("correlationData", self.correlation_data.is_some()),
        ];
        named.into_iter().find_map(|(name, is_named)| is_named.then_some(name))
    }

    /// In wire form.
    pub fn write(&self) -> Result<Vec<u8>, Problem> {
        let mut out = Vec::new();
        if let Some(format) = self.payload_format_indicator {
            if format > 1 {
                return Err(wrong("payloadFormatIndicator", "expected 0, or 1 for UTF-8"));
            }
            PublishProperty::PayloadFormatIndicator(format).write(&mut out);
        }
        if let Some(seconds) = self.message_expiry_interval {
            PublishProperty::MessageExpiryInterval(seconds).write(&mut out);
        }
        if let Some(kind) = &self.content_type {
            PublishProperty::ContentType(text("contentType", kind)?).write(&mut out);
        }
        if let Some(topic) = &self.response_topic {
            TopicName::check(topic).map_err(|error| wrong("responseTopic", error))?;
            PublishProperty::ResponseTopic(topic).write(&mut out);
        }
        if let Some(data) = &self.correlation_data {
            let data = decode("correlationData", data)?;
            if data.len() > MAXIMUM_FIELD_BYTES {
                return Err(wrong("correlationData", "expected at most 65,535 bytes"));
            }
            PublishProperty::CorrelationData(&data).write(&mut out);
        }
        for (name, value) in &self.user_properties {
            let property = PublishProperty::UserProperty(text("userProperties", name)?, text("userProperties", value)?);
            property.write(&mut out);
        }
        Ok(out)
    }
}

/// Text as MQTT has it [MQTT-1.5.4-2].
fn text<'a>(name: &'static str, text: &'a str) -> Result<&'a str, Problem> {
    if text.len() > MAXIMUM_FIELD_BYTES || text.contains('\0') {
        return Err(wrong(name, "expected text of at most 65,535 bytes without U+0000"));
    }
    Ok(text)
}

fn decode(name: &'static str, text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|_| wrong(name, "expected Base64"))
}

fn wrong(name: &'static str, detail: impl std::fmt::Display) -> Problem {
    Problem::parameter(name, detail)
}

impl From<PublishRefusal> for Problem {
    fn from(refusal: PublishRefusal) -> Self {
        let status = match &refusal {
            PublishRefusal::Invalid(_) => StatusCode::BAD_REQUEST,
            PublishRefusal::Forbidden(_) => StatusCode::FORBIDDEN,
            PublishRefusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            PublishRefusal::InProgress(_) => StatusCode::CONFLICT,
            PublishRefusal::KeyReused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PublishRefusal::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            PublishRefusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(error = %refusal, "a publication by HTTP is not taken");
        }
        Self::new(status, refusal.to_string())
    }
}
