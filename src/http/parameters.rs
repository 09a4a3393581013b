//! Query parameters of the event, device and session routes, parsed once. Unknown names are ignored: clients
//! written for the pod may send their own.

use std::time::Duration;

use axum::http::{HeaderMap, Uri, header};
use uuid::Uuid;

use super::problem::Problem;
use crate::{
    limits,
    stream::{DeviceName, Filter, Form, Mode, Start, Streams, Subscription},
    types::{DeadLetterQuery, DeviceQuery, EventQuery, LastEventId, Sequence, SessionQuery, TopicFilter, Topics},
};

/// Names and values, decoded, in order.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of a request.
    pub fn of(uri: &Uri) -> Self {
        // Any text is a list of pairs: what is not one becomes a name without a value.
        Self(axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default())
    }

    /// All values of a parameter; an empty one counts as absent. No name, topic or time holds U+0000, and the
    /// database takes no text that does.
    fn all(&self, name: &'static str) -> Result<Vec<&str>, Problem> {
        let values = self.0.iter().filter(|(other, value)| other == name && !value.is_empty());
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        if values.len() > limits::STREAM_FILTERS {
            return Err(too_many(name, values.len()));
        }
        if values.iter().any(|value| value.contains('\0')) {
            return Err(Problem::parameter(name, "must not contain U+0000"));
        }
        Ok(values)
    }

    /// The value of a parameter that may be given once.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        match *self.all(name)? {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Problem::parameter(name, "expected one value only")),
        }
    }

    /// How many entries a page has.
    pub fn limit(&self, default: u16, most: u16) -> Result<u16, Problem> {
        self.one("limit")?.map_or(Ok(default), |text| {
            let number = text.parse().ok().filter(|limit| (1..=most).contains(limit));
            number.ok_or_else(|| Problem::parameter("limit", format_args!("expected a number from 1 to {most}")))
        })
    }

    /// How long an answer may take.
    pub fn wait(&self) -> Result<Option<Duration>, Problem> {
        let most = limits::POLL_WAIT.as_secs();
        let seconds = |text: &str| text.parse().ok().filter(|seconds| *seconds <= most).map(Duration::from_secs);
        let wait = self.one("wait")?.map(|text| {
            seconds(text).ok_or_else(|| {
                Problem::parameter("wait", format_args!("expected a number of seconds from 0 to {most}"))
            })
        });
        wait.transpose()
    }

    fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::parameter(name, "expected true or false")),
        }
    }

    /// How many points a series has at most, where that is asked.
    pub fn points(&self) -> Result<Option<u32>, Problem> {
        let most = limits::MAXIMUM_SERIES_POINTS;
        let number = |text: &str| text.parse().ok().filter(|points| (1..=most).contains(points));
        let wanted = self.one("max_points")?.map(|text| {
            number(text)
                .ok_or_else(|| Problem::parameter("max_points", format_args!("expected a number from 1 to {most}")))
        });
        wanted.transpose()
    }

    /// How many events a download has at most.
    fn most(&self) -> Result<Option<u64>, Problem> {
        let number = |text: &str| text.parse().ok().filter(|most| *most > 0);
        let most = self.one("limit")?.map(|text| {
            number(text).ok_or_else(|| Problem::parameter("limit", "expected a number of events, 1 or more"))
        });
        most.transpose()
    }

    /// The value of a parameter that may be given once, as what it stands for.
    pub fn parse<T>(&self, name: &'static str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let refused = |text: &str, error: T::Err| match text.contains(' ') {
            // As in `12:00:00+02:00`, the way that people write it.
            true => Problem::parameter(name, format_args!("{error}; a + must be written %2B in a URL")),
            false => Problem::parameter(name, error),
        };
        self.one(name)?.map(|text| text.parse().map_err(|error| refused(text, error))).transpose()
    }
}

/// More values of one kind than a filter may have.
pub fn too_many(name: &'static str, count: usize) -> Problem {
    Problem::parameter(name, format_args!("expected at most {} values, not {count}", limits::STREAM_FILTERS))
}

/// A `topic`. An unescaped `+` is decoded to a space, so a level of one space means `+`.
fn topic_filter(text: &str) -> Result<TopicFilter, Problem> {
    let levels: Vec<_> = text.split('/').map(|level| if level == " " { "+" } else { level }).collect();
    levels.join("/").parse().map_err(|error| Problem::parameter("topic", error))
}

fn owned(values: Vec<&str>) -> Vec<String> {
    values.into_iter().map(str::to_owned).collect()
}

/// What a client asks of the stream. The `Last-Event-ID` header wins over `last_event_id`: a
/// browser that reconnects sends its first URL again. The header is never refused, because an
/// answer other than 200 stops an `EventSource` for good; a wrong parameter is a
/// programmer's, and is.
pub fn stream(uri: &Uri, headers: &HeaderMap, streams: &Streams) -> Result<Subscription, Problem> {
    let parameters = Parameters::of(uri);
    let parameter = parameters.parse("last_event_id")?;
    let header = headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let start = match header.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_or_else(|_| Start::Unknown(text.into_owned()), Start::After),
        None => parameter.map_or(Start::Now, Start::After),
    };
    let form = Form::Sse { named: parameters.flag("named")? };
    Ok(Subscription { start, form, ..parameters.subscription(streams)? })
}

/// What belongs to stored events alone.
const STORED_ONLY: [&str; 8] = ["subject", "correlation", "from", "to", "order", "limit", "cursor", "format"];

/// What a client asks of the next events, where it asks for them: what it asks of the stream, and how long it
/// waits for one.
pub fn poll(uri: &Uri, streams: &Streams) -> Result<Option<Subscription>, Problem> {
    let parameters = Parameters::of(uri);
    let (after, wait) = (parameters.parse("after")?, parameters.one("wait")?);
    if after.is_none() && wait.is_none() {
        return Ok(None);
    }
    for name in STORED_ONLY {
        if parameters.one(name)?.is_some() {
            return Err(Problem::parameter(name, "is for stored events, and `after` and `wait` ask for the next ones"));
        }
    }
    let wait = parameters.wait()?.unwrap_or_default();
    let start = after.map_or(Start::Now, Start::After);
    let subscription = parameters.subscription(streams)?;
    Ok(Some(Subscription { start, form: Form::Lines, heartbeat: Some(wait), ..subscription }))
}

/// What a client calls itself.
pub fn name(uri: &Uri) -> Result<Option<String>, Problem> {
    let parameters = Parameters::of(uri);
    let name = parameters.one("name")?;
    let most = limits::WATCHER_NAME_CHARS;
    if name.is_some_and(|name| name.chars().count() > most || name.chars().any(char::is_control)) {
        let detail = format_args!("expected a name of at most {most} characters, without control characters");
        return Err(Problem::parameter("name", detail));
    }
    Ok(name.map(str::to_owned))
}

/// Whether a client of the WebSocket wants its messages compressed.
pub fn compressed(uri: &Uri) -> Result<bool, Problem> {
    Parameters::of(uri).flag("compress")
}

impl Parameters {
    /// What every transport of the stream is asked in the same words.
    fn subscription(&self, streams: &Streams) -> Result<Subscription, Problem> {
        let filter = Filter {
            topics: self.all("topic")?.into_iter().map(topic_filter).collect::<Result<_, _>>()?,
            types: owned(self.all("type")?),
            devices: self.all("device")?.into_iter().map(DeviceName::from).collect(),
            ..Filter::default()
        };
        let rate = self.one("rate")?.map(|text| text.parse().map_err(|_| Problem::parameter("rate", rate_hint())));
        let mode = mode(self.one("mode")?, rate.transpose()?)?;
        let snapshot = self.flag("snapshot")?;
        let until = self.parse::<LastEventId>("until")?;
        if until.is_some() && (snapshot || matches!(mode, Mode::Latest { .. })) {
            return Err(Problem::parameter(
                "until",
                "is for a replay, which has neither a snapshot nor the latest values only",
            ));
        }
        let until = until.map(|id| {
            streams.resolve(id).ok_or_else(|| Problem::parameter("until", "expected an id that this bridge has given"))
        });
        let until = until.transpose()?.unwrap_or(Sequence(u64::MAX));
        Ok(Subscription { filter, mode, snapshot, until, ..Subscription::default() })
    }
}

/// The mode of this name, with a rate where it has one.
pub fn mode(name: Option<&str>, rate: Option<u32>) -> Result<Mode, Problem> {
    let mode = match name {
        None | Some("guaranteed") => Mode::Guaranteed,
        Some("best-effort") => Mode::BestEffort,
        Some("latest") => Mode::latest_by_default(),
        Some(_) => return Err(Problem::parameter("mode", "expected guaranteed, best-effort or latest")),
    };
    match (mode, rate) {
        (_, None) => Ok(mode),
        (Mode::Latest { .. }, Some(rate)) if (1..=limits::MAXIMUM_STREAM_RATE).contains(&rate) => {
            Ok(Mode::latest(rate))
        }
        (Mode::Latest { .. }, Some(_)) => Err(Problem::parameter("rate", rate_hint())),
        _ => Err(Problem::parameter("rate", "is for mode=latest")),
    }
}

fn rate_hint() -> String {
    format!("expected events of one topic a second, a number from 1 to {}", limits::MAXIMUM_STREAM_RATE)
}

/// How stored events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One page as one object.
    Json,
    /// One event a line.
    Ndjson,
    /// One event a row, after a row of names.
    Csv,
}

/// What a client asks of stored events.
pub struct EventsRequest {
    /// The first page.
    pub query: EventQuery,
    /// The form of the answer.
    pub format: Format,
    /// Events in all, where they are rows or lines; `None` for all there are.
    pub most: Option<u64>,
}

/// What a client asks of stored events. `format` wins over the `Accept` header.
pub fn events(uri: &Uri, headers: &HeaderMap) -> Result<EventsRequest, Problem> {
    let parameters = Parameters::of(uri);
    let format = match parameters.one("format")? {
        Some("json") => Format::Json,
        Some("ndjson") => Format::Ndjson,
        Some("csv") => Format::Csv,
        Some(_) => return Err(Problem::parameter("format", "expected json, ndjson or csv")),
        None => accepted(headers),
    };
    let (limit, most) = match format {
        Format::Json => (parameters.limit(limits::EVENTS_PAGE, limits::MAXIMUM_EVENTS_PAGE)?, None),
        Format::Ndjson | Format::Csv => (limits::MAXIMUM_EVENTS_PAGE, parameters.most()?),
    };
    let query = EventQuery {
        topic: parameters.one("topic")?.map(topic_filter).transpose()?,
        event_type: parameters.one("type")?.map(str::to_owned),
        device: parameters.one("device")?.map(str::to_owned),
        subject: parameters.one("subject")?.map(str::to_owned),
        correlation: parameters.one("correlation")?.map(uuid).transpose()?,
        from: parameters.parse("from")?,
        to: parameters.parse("to")?,
        order: parameters.parse("order")?.unwrap_or_default(),
        limit: most.map_or(limit, |most| limit.min(u16::try_from(most).unwrap_or(u16::MAX))),
        cursor: parameters.one("cursor")?.map(str::to_owned),
        within: Topics::All,
    };
    Ok(EventsRequest { query, format, most })
}

fn uuid(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Problem::parameter("correlation", "expected a UUID"))
}

/// The first form in `Accept` that there is; JSON for whatever else.
fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut known = kinds.filter_map(|kind| match kind {
        "application/json" => Some(Format::Json),
        "application/x-ndjson" | "application/ndjson" => Some(Format::Ndjson),
        "text/csv" => Some(Format::Csv),
        _ => None,
    });
    known.next().unwrap_or(Format::Json)
}

/// What a client asks of dead letters.
pub fn dead_letters(uri: &Uri) -> Result<DeadLetterQuery, Problem> {
    let parameters = Parameters::of(uri);
    Ok(DeadLetterQuery {
        limit: parameters.limit(limits::DEAD_LETTERS_PAGE, limits::MAXIMUM_DEAD_LETTERS_PAGE)?,
        cursor: parameters.one("cursor")?.map(str::to_owned),
    })
}

/// What a client asks of sessions.
pub fn sessions(uri: &Uri) -> Result<SessionQuery, Problem> {
    let parameters = Parameters::of(uri);
    Ok(SessionQuery {
        limit: parameters.limit(limits::SESSIONS_PAGE, limits::MAXIMUM_SESSIONS_PAGE)?,
        cursor: parameters.one("cursor")?.map(str::to_owned),
        filters: parameters.flag("filters")?,
    })
}

/// What a client asks of devices.
pub fn devices(uri: &Uri) -> Result<DeviceQuery, Problem> {
    let parameters = Parameters::of(uri);
    Ok(DeviceQuery {
        limit: parameters.limit(limits::DEVICES_PAGE, limits::MAXIMUM_DEVICES_PAGE)?,
        cursor: parameters.one("cursor")?.map(str::to_owned),
        metrics: parameters.flag("metrics")?,
    })
}
