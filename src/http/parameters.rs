//! Query parameters of the event and session routes, parsed once. Unknown names are ignored: clients
//! written for the pod may send their own.

use axum::http::{HeaderMap, Uri};

use super::problem::Problem;
use crate::{
    limits,
    stream::{Filter, Start},
    types::{DeadLetterQuery, EventQuery, SessionQuery, TopicFilter},
};

/// Names and values, decoded, in order.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Self {
        // Any text is a list of pairs: what is not one becomes a name without a value.
        Self(axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default())
    }

    /// All values of a parameter; an empty one counts as absent.
    fn all(&self, name: &'static str) -> Result<Vec<&str>, Problem> {
        let values = self.0.iter().filter(|(other, value)| other == name && !value.is_empty());
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        if values.len() > limits::STREAM_FILTERS {
            let most = limits::STREAM_FILTERS;
            return Err(Problem::parameter(name, format_args!("expected at most {most} values, not {}", values.len())));
        }
        Ok(values)
    }

    /// The value of a parameter that may be given once.
    fn one(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        match *self.all(name)? {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Problem::parameter(name, "expected one value only")),
        }
    }

    /// How many entries a page has.
    fn limit(&self, default: u16, most: u16) -> Result<u16, Problem> {
        self.one("limit")?.map_or(Ok(default), |text| {
            let number = text.parse().ok().filter(|limit| (1..=most).contains(limit));
            number.ok_or_else(|| Problem::parameter("limit", format_args!("expected a number from 1 to {most}")))
        })
    }

    fn parse<T>(&self, name: &'static str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        self.one(name)?.map(|text| text.parse().map_err(|error| Problem::parameter(name, error))).transpose()
    }
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
pub fn stream(uri: &Uri, headers: &HeaderMap) -> Result<(Filter, Start), Problem> {
    let parameters = Parameters::of(uri);
    let filter = Filter {
        topics: parameters.all("topic")?.into_iter().map(topic_filter).collect::<Result<_, _>>()?,
        types: owned(parameters.all("type")?),
        devices: owned(parameters.all("device")?),
    };
    let parameter = parameters.parse("last_event_id")?;
    let header = headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let start = match header.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_or_else(|_| Start::Unknown(text.into_owned()), Start::After),
        None => parameter.map_or(Start::Now, Start::After),
    };
    Ok((filter, start))
}

/// What a client asks of stored events.
pub fn events(uri: &Uri) -> Result<EventQuery, Problem> {
    let parameters = Parameters::of(uri);
    Ok(EventQuery {
        topic: parameters.one("topic")?.map(topic_filter).transpose()?,
        event_type: parameters.one("type")?.map(str::to_owned),
        device: parameters.one("device")?.map(str::to_owned),
        from: parameters.parse("from")?,
        to: parameters.parse("to")?,
        limit: parameters.limit(limits::EVENTS_PAGE, limits::MAXIMUM_EVENTS_PAGE)?,
        cursor: parameters.one("cursor")?.map(str::to_owned),
    })
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
    let filters = match parameters.one("filters")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::parameter("filters", "expected true or false")),
    };
    Ok(SessionQuery {
        limit: parameters.limit(limits::SESSIONS_PAGE, limits::MAXIMUM_SESSIONS_PAGE)?,
        cursor: parameters.one("cursor")?.map(str::to_owned),
        filters,
    })
}
