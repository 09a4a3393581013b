//! Events from a bridge that runs, through `GET /api/events?format=ndjson`.
//!
//! Plain HTTP, as the bridge speaks it, with a bearer token where one is given. An answer that breaks off is an error: the bridge breaks off where it cannot go
//! on, so that the end of a download is always the end of the events.

use std::{future::poll_fn, path::Path, pin::Pin};

use anyhow::{Context, bail};
use axum::body::Body as RequestBody;
use bytes::Bytes;
use http_body::Body;
use hyper::{
    Request, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use super::Take;
use crate::{
    limits,
    types::{EventQuery, Order},
};

/// A bridge that runs.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Of its HTTP port.
    pub url: &'a Url,
    /// A file whose first line is the token to show there.
    pub token_file: Option<&'a Path>,
}

/// Hands over what the bridge answers.
pub async fn export(server: Server<'_>, query: &EventQuery, take: Take<'_>) -> anyhow::Result<()> {
    let address = address(server.url, query)?;
    let authorization = server.token_file.map(authorization).transpose()?;
    let mut body = get(server.url, &address, authorization).await?;
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
async fn get(server: &Url, address: &Url, authorization: Option<HeaderValue>) -> anyhow::Result<Incoming> {
    let (Some(host), Some(port)) = (server.host(), server.port_or_known_default()) else {
        bail!("{server} names no host");
    };
    let name = host.to_string();
    let stream = TcpStream::connect((name.trim_start_matches('[').trim_end_matches(']'), port)).await;
    let stream = stream.with_context(|| format!("connect to {name}, port {port}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = &address[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::get(path).header(header::HOST, format!("{name}:{port}"));
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(RequestBody::empty())?;
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

/// The header that shows the token of a file (RFC 6750 section 2.1), kept out of whatever prints headers.
fn authorization(file: &Path) -> anyhow::Result<HeaderValue> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read the token in {}", file.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        bail!("the first line of {} is no token: letters, digits and -._~+/= are", file.display());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

    /// What a bridge that answers with one event, or asks for a token, was asked; and what was made of it.
    async fn asked(token: Option<&str>) -> (String, anyhow::Result<Vec<String>>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, token.unwrap_or_default()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let request = String::from_utf8(request).unwrap();
            let (status, body) = match request.contains("authorization: Bearer sk_live_7\r\n") {
                true => ("200 OK", "{\"id\":1}\n"),
                false => ("401 Unauthorized", "{\"detail\":\"show a token\"}"),
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            request
        });
        let mut events = Vec::new();
        let mut take = |event: &str| {
            events.push(event.to_owned());
            Ok(())
        };
        let query = EventQuery::everything(1);
        let asks = Server { url: &url, token_file: token.map(|_| &*file) };
        let done = export(asks, &query, &mut take).await;
        (server.await.unwrap(), done.map(|()| events))
    }

    #[tokio::test]
    async fn a_token_is_shown_where_there_is_one_and_a_refusal_says_why() {
        assert_eq!(asked(Some("sk_live_7\nnot this\n")).await.1.unwrap(), ["{\"id\":1}"]);
        let (request, refused) = asked(None).await;
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
        let refused = refused.unwrap_err().to_string();
        assert!(refused.ends_with("answered 401 Unauthorized: show a token"), "{refused}");
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        assert!(authorization(&file).unwrap_err().to_string().starts_with("read the token in "));
        for text in ["", "\n", "two words", "a\u{7f}b", "é"] {
            std::fs::write(&file, text).unwrap();
            let error = authorization(&file).unwrap_err().to_string();
            assert!(error.contains("is no token") && !error.contains("two words"), "{error}");
        }
        std::fs::write(&file, " eyJ.a-b_c~d+e/f== \n").unwrap();
        assert_eq!(authorization(&file).unwrap(), "Bearer eyJ.a-b_c~d+e/f==");
    }
}
