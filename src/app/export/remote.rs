//! Events from a bridge that runs, through `GET /api/events?format=ndjson`.
//!
//! Plain HTTP, as the bridge speaks it. An answer that breaks off is an error: the bridge breaks off where it cannot go
//! on, so that the end of a download is always the end of the events.

use std::{future::poll_fn, pin::Pin};

use anyhow::{Context, bail};
use axum::body::Body as RequestBody;
use bytes::Bytes;
use http_body::Body;
use hyper::{Request, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use super::Take;
use crate::{
    limits,
    types::{EventQuery, Order},
};

/// Hands over what the bridge at `server` answers.
pub async fn export(server: &Url, query: &EventQuery, take: Take<'_>) -> anyhow::Result<()> {
    let mut body = get(server, &address(server, query)?).await?;
    let mut line = Vec::new();
    while let Some(bytes) = next(&mut body).await.context("the answer broke off")? {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        line.extend_from_slice(pieces.next().unwrap_or_default());
        for piece in pieces {
            take(std::str::from_utf8(&line).context("the answer is not UTF-8")?)?;
            line.clear();
            line.extend_from_slice(piece);
        }
        if line.len() > limits::FILE_RECORD_BYTES {
            bail!("a line of the answer is longer than any event");
        }
    }
    if !line.is_empty() {
        bail!("the answer broke off within an event");
    }
    Ok(())
}

/// The answer's body, where it is what was asked for.
async fn get(server: &Url, address: &Url) -> anyhow::Result<Incoming> {
    let (Some(host), Some(port)) = (server.host(), server.port_or_known_default()) else {
        bail!("{server} names no host");
    };
    let name = host.to_string();
    let stream = TcpStream::connect((name.trim_start_matches('[').trim_end_matches(']'), port)).await;
    let stream = stream.with_context(|| format!("connect to {name}, port {port}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = &address[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path).header(header::HOST, format!("{name}:{port}")).body(RequestBody::empty())?;
    let answer = sender.send_request(request).await.context("ask the bridge")?;
    let status = answer.status();
    let mut body = answer.into_body();
    if status != StatusCode::OK {
        let told = next(&mut body).await.ok().flatten().unwrap_or_default();
        let problem = serde_json::from_slice::<serde_json::Value>(&told).ok();
        let detail =
            problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or("it gave no reason");
        bail!("the bridge at {server} answered {status}: {detail}");
    }
    Ok(body)
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The query as the parameters of a URL.
fn address(server: &Url, query: &EventQuery) -> anyhow::Result<Url> {
    if server.scheme() != "http" {
        bail!("{server}: the bridge itself speaks plain HTTP; give the http:// URL of its own port");
    }
    let mut address = server.clone();
    let path = format!("{}/api/events", server.path().trim_end_matches('/'));
    address.set_path(&path);
    let text = |value: Option<String>| value.unwrap_or_default();
    let parameters = [
        ("format", "ndjson".to_owned()),
        ("order", if query.order == Order::OldestFirst { "asc" } else { "desc" }.to_owned()),
        ("topic", text(query.topic.as_ref().map(|topic| topic.as_str().to_owned()))),
        ("type", text(query.event_type.clone())),
        ("device", text(query.device.clone())),
        ("subject", text(query.subject.clone())),
        ("correlation", text(query.correlation.map(|id| id.to_string()))),
        ("from", text(query.from.map(|time| time.to_string()))),
        ("to", text(query.to.map(|time| time.to_string()))),
    ];
    address.query_pairs_mut().clear().extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_parameters() {
        let query = EventQuery {
            topic: Some("devices/+/telemetry".parse().unwrap()),
            order: Order::OldestFirst,
            from: Some("2026-01-31T12:00:00+02:00".parse().unwrap()),
            ..EventQuery::everything(1)
        };
        let address = address(&"http://127.0.0.1:8080/pod/".parse().unwrap(), &query).unwrap();
        assert_eq!(
            address.as_str(),
            "http://127.0.0.1:8080/pod/api/events?format=ndjson&order=asc&topic=devices%2F%2B%2Ftelemetry\
             &from=2026-01-31T10%3A00%3A00.000000Z"
        );
        assert!(super::address(&"https://pod.example.org".parse().unwrap(), &query).is_err());
    }
}
