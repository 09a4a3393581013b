//! Refusals: the one place that turns an error into an HTTP answer (RFC 9457).

use axum::{
    extract::rejection::PathRejection,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use uuid::Uuid;

use super::{ConsumersUnavailable, DevicesUnavailable, QueryError, SessionsUnavailable};
use crate::websocket::Refusal;

/// A refusal. Its type is `about:blank`: the status says what kind it is.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    parameter: Option<&'static str>,
    /// Boxed, so that results stay small.
    header: Option<Box<(HeaderName, HeaderValue)>>,
    command: Option<Uuid>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'static str>,
    #[serde(rename = "commandId", skip_serializing_if = "Option::is_none")]
    command: Option<Uuid>,
}

impl Problem {
    /// A refusal, with what would be right.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), parameter: None, header: None, command: None }
    }

    /// The same, about a command, with where it is found.
    pub fn of_command(self, id: Uuid, location: Option<(HeaderName, HeaderValue)>) -> Self {
        Self { command: Some(id), header: location.map(Box::new), ..self }
    }

    /// The same with a header; a value that can be in none is left out.
    pub fn with(self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        Self { header: value.try_into().ok().map(|value| Box::new((name, value))), ..self }
    }

    /// Its status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The problem as it is answered, for answers that are no HTTP.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter,
            command: self.command,
        }
    }

    /// 400: a query parameter has a value that it cannot have.
    pub fn parameter(name: &'static str, detail: impl std::fmt::Display) -> Self {
        let detail = format!("`{name}`: {detail}");
        Self { parameter: Some(name), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }
}

/// A path that is not UTF-8 once decoded.
impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Cursor => Self::parameter("cursor", "expected the `nextCursor` of an earlier page"),
            QueryError::TooMuch(detail) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            QueryError::Unavailable(source) => {
                tracing::warn!(error = %source, "stored events cannot be read");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stored events cannot be read now; try again later")
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self { header: refusal.header.map(Box::new), ..Self::new(refusal.status, refusal.detail) }
    }
}

impl From<SessionsUnavailable> for Problem {
    fn from(SessionsUnavailable(source): SessionsUnavailable) -> Self {
        tracing::warn!(error = %source, "sessions cannot be listed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "sessions cannot be listed now; try again later")
    }
}

impl From<DevicesUnavailable> for Problem {
    fn from(DevicesUnavailable(source): DevicesUnavailable) -> Self {
        tracing::warn!(error = %source, "devices cannot be listed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "devices cannot be listed now; try again later")
    }
}

impl From<ConsumersUnavailable> for Problem {
    fn from(ConsumersUnavailable(source): ConsumersUnavailable) -> Self {
        tracing::warn!(error = %source, "consumers cannot be looked at");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "consumers cannot be looked at now; try again later")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self.body()).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], text).into_response();
        response.headers_mut().extend(self.header.map(|header| *header));
        response
    }
}
