//! `POST /api/devices/{device}/commands`: something that a device is to do and to answer; and what became of it.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    caller,
    parameters::Parameters,
    problem::Problem,
    publish::{Properties, at_least_once, payload, read},
    routes::Context,
};
use crate::{
    auth::web::Caller,
    limits,
    types::{CommandInfo, CommandPage, CommandRequest, CommandState, IdempotencyKey, Qos, Scope, Topics},
};

/// Set where the command had been asked for before.
const REPEATED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a device is asked to do, as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// Any JSON; it is sent as it is written.
    payload: Option<Box<RawValue>>,
    /// Or text.
    text: Option<String>,
    /// Or anything, in Base64.
    base64: Option<String>,
    topic: Option<String>,
    response_topic: Option<String>,
    #[serde(default = "at_least_once")]
    qos: u8,
    /// Seconds.
    expiry: Option<u32>,
    /// Seconds.
    wait: Option<u32>,
    #[serde(default)]
    properties: Properties,
}

impl Order {
    /// How long its answer is waited for.
    pub fn wait(&self) -> Result<Duration, Problem> {
        let most = limits::MAXIMUM_COMMAND_WAIT.as_secs();
        match self.wait.map(u64::from) {
            None => Ok(limits::COMMAND_WAIT),
            Some(seconds) if seconds <= most => Ok(Duration::from_secs(seconds)),
            Some(_) => Err(Problem::parameter("wait", format_args!("expected a number of seconds from 0 to {most}"))),
        }
    }

    /// As the broker takes it.
    pub fn request(
        self,
        device: String,
        key: Option<IdempotencyKey>,
        granted: Option<Topics>,
    ) -> Result<CommandRequest, Problem> {
        let most = limits::MAXIMUM_COMMAND_EXPIRY.as_secs();
        if self.expiry.is_some_and(|seconds| seconds == 0 || u64::from(seconds) > most) {
            return Err(Problem::parameter("expiry", format_args!("expected a number of seconds from 1 to {most}")));
        }
        if let Some(name) = self.properties.given_by_commands() {
            return Err(Problem::parameter(
                name,
                "is the command's own: `responseTopic` and `expiry` stand beside `payload`",
            ));
        }
        let topic = |name, text: Option<String>| {
            text.map(|text| text.parse()).transpose().map_err(|error| Problem::parameter(name, error))
        };
        Ok(CommandRequest {
            device,
            topic: topic("topic", self.topic)?,
            answer_topic: topic("responseTopic", self.response_topic)?,
            payload: payload(self.payload, self.text, self.base64)?,
            qos: Qos::try_from(self.qos).map_err(|error| Problem::parameter("qos", error))?,
            properties: self.properties.write()?,
            expiry: self.expiry,
            key,
            granted,
        })
    }
}

/// `POST /api/devices/{device}/commands`
pub async fn give(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    device: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Path(device) = device?;
    let (order, key) = read::<Order>(request, "command").await?;
    let Given { command, is_repeated } = carry_out(&context, &caller, device, order, key).await?;
    let status = if command.state == CommandState::Completed { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, Json(&command)).into_response();
    response.headers_mut().extend(location(&command).map(|location| (header::LOCATION, location)));
    if is_repeated {
        response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A command that is answered, or that nobody waits for.
pub struct Given {
    pub command: CommandInfo,
    is_repeated: bool,
}

/// Gives a command, and waits for its answer as long as its request says.
///
/// # Errors
/// Why it is not taken; 504 where it is, and is not answered in time.
pub async fn carry_out(
    context: &Context,
    caller: &Caller,
    device: String,
    order: Order,
    key: Option<IdempotencyKey>,
) -> Result<Given, Problem> {
    let commander = &context.services.commander;
    let wait = order.wait()?;
    let told = commander.request(order.request(device, key, caller::commands(caller)?)?).await?;
    let (mut command, is_repeated) = (told.command, told.is_repeated);
    if !wait.is_zero() || is_repeated {
        let id = command.id;
        // One that is forgotten meanwhile was as it was told.
        command = commander.settled(id, wait).await?.unwrap_or(command);
    }
    if wait.is_zero() || command.state == CommandState::Completed {
        return Ok(Given { command, is_repeated });
    }
    let detail = if command.state == CommandState::Expired {
        "the device has not answered before the command expired".to_owned()
    } else {
        format!("the device has not answered within {} s; the command goes on until it expires", wait.as_secs())
    };
    let location = location(&command).map(|location| (header::LOCATION, location));
    Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail).of_command(command.id, location))
}

/// Where it is found again.
fn location(command: &CommandInfo) -> Option<HeaderValue> {
    let device: String = command.device.bytes().map(percent_encoded).collect();
    HeaderValue::try_from(format!("/api/devices/{device}/commands/{}", command.id)).ok()
}

/// As in a segment of a path (RFC 3986).
fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// `GET /api/devices/{device}/commands`
pub async fn list(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    device: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json<CommandPage>, Problem> {
    let Path(device) = device?;
    let limit = Parameters::of(&uri).limit(limits::COMMANDS_PAGE, limits::MAXIMUM_COMMANDS_PAGE)?;
    let mut page = context.services.commander.of_device(&device, limit.into()).await?;
    let within = caller::topics(&caller, Scope::Commands)?;
    page.commands.retain(|command| within.have(Some(&command.topic)));
    Ok(Json(page))
}

/// `GET /api/devices/{device}/commands/{id}`
pub async fn one(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<CommandInfo>, Problem> {
    let Path((device, id)) = path?;
    let id = Uuid::try_parse(&id).map_err(|_| Problem::parameter("id", "expected a UUID"))?;
    let within = caller::topics(&caller, Scope::Commands)?;
    let found = context.services.commander.find(id).await?;
    let found = found.filter(|command| command.device == device && within.have(Some(&command.topic)));
    found.map(Json).ok_or_else(|| {
        let detail =
            format!("nothing is known of a command {id} to {device:?}: those that are over are forgotten after a day");
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}
