//! The server, driven through a socket.

use std::{net::SocketAddr, sync::atomic::AtomicBool, time::Duration};

use reqwest::{Client, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    auth::web::IdentityGrants,
    journal::Journal,
    limits,
    stream::tests::{TestMapper, open_journal, publish, start},
    types::{ConsumerInfo, DeviceState, Grants, HealthState, JournalInfo, LastValue, Micros, Qos},
};

/// A server on a port of its own, with a journal behind it.
struct TestServer {
    address: SocketAddr,
    journal: Journal,
    stop: CancellationToken,
    running: JoinHandle<()>,
    ready: Arc<AtomicBool>,
    client: Client,
    _directory: tempfile::TempDir,
}

/// Sessions `a` to `e`, and one that needs escaping.
struct TestSessions;

const CLIENTS: [&str; 6] = ["a", "b", "c/d e", "d", "e", "unavailable"];

fn test_session(client_id: &str, filters: bool) -> SessionInfo {
    SessionInfo {
        client_id: client_id.to_owned(),
        user: None,
        connected: false,
        since: Some(Micros::default()),
        peer: None,
        protocol_version: None,
        keep_alive: None,
        session_expiry_interval: Some(60),
        expires_at: None,
        subscriptions: 1,
        filters: filters.then(|| vec!["x/#".to_owned()]),
        queued_messages: 2,
        queued_bytes: 3,
        in_flight: Some(4),
        dropped: 5,
        dropped_since: Micros::default(),
    }
}

/// One device, and one that needs escaping.
struct TestDevices;

fn test_device(name: &str, metrics: bool) -> DeviceInfo {
    let value = LastValue { value: json!(21.5), timestamp: Micros::default() };
    let state = DeviceState {
        client_id: "c".to_owned(),
        events: 7,
        last_type: "devices.telemetry.received".to_owned(),
        last_topic: format!("devices/{name}/telemetry"),
        metrics: metrics.then(|| [("t".into(), value)].into()),
        ..DeviceState::default()
    };
    DeviceInfo { device: name.to_owned(), subject_id: Uuid::nil(), online: true, since: Some(Micros::default()), state }
}

/// Knows of no command.
struct TestCommander;

impl Commander for TestCommander {
    fn request(&self, _: CommandRequest) -> BoxFuture<'_, Result<CommandTold, PublishRefusal>> {
        Box::pin(async { Err(PublishRefusal::TooMany("too many".to_owned())) })
    }

    fn settled(&self, _: Uuid, _: Duration) -> BoxFuture<'_, Result<Option<CommandInfo>, PublishRefusal>> {
        Box::pin(async { Ok(None) })
    }

    fn find(&self, _: Uuid) -> BoxFuture<'_, Result<Option<CommandInfo>, PublishRefusal>> {
        Box::pin(async { Ok(None) })
    }

    fn of_device<'a>(&'a self, _: &'a str, _: usize) -> BoxFuture<'a, Result<CommandPage, PublishRefusal>> {
        Box::pin(async { Ok(CommandPage::default()) })
    }
}

/// One that is behind.
struct TestConsumers;

impl Overview for TestConsumers {
    fn consumers(&self) -> BoxFuture<'_, Result<ConsumersInfo, ConsumersUnavailable>> {
        let behind = ConsumerInfo {
            name: "timescale",
            position: 3,
            lag_records: 2,
            waiting_since: Some(Micros::default()),
            lag_seconds: 0.5,
        };
        let info = ConsumersInfo {
            journal: JournalInfo { appended: 5, durable: 5, oldest: 1, bytes: 4096, maximum_bytes: 1 << 30 },
            consumers: vec![behind],
            database: None,
            import: None,
            stream_clients: 0,
            health: HealthSnapshot { live: true, ready: true, components: [].into() },
        };
        Box::pin(async move { Ok(info) })
    }
}

impl DeviceDirectory for TestDevices {
    fn page(&self, query: DeviceQuery) -> BoxFuture<'_, Result<DevicePage, DevicesUnavailable>> {
        let next_cursor = query.cursor.is_none().then(|| "pump 7".to_owned());
        let name = query.cursor.as_deref().map_or("pump 7", |_| "valve");
        let devices = vec![test_device(name, query.metrics)];
        Box::pin(async move { Ok(DevicePage { devices, next_cursor }) })
    }

    fn device<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<DeviceInfo>, DevicesUnavailable>> {
        let answer = match name {
            "unavailable" => Err(DevicesUnavailable("no answer".into())),
            _ => Ok((name == "pump 7").then(|| test_device(name, true))),
        };
        Box::pin(async move { answer })
    }

    fn topics(&self, name: &str) -> Vec<TopicFilter> {
        format!("devices/{name}/#").parse().into_iter().collect()
    }
}

/// Publishes nothing.
struct TestPublisher;

impl Publisher for TestPublisher {
    fn publish(&self, _: PublishRequest) -> BoxFuture<'_, Result<Published, PublishRefusal>> {
        Box::pin(async { Err(PublishRefusal::Unavailable("nowhere to publish to".into())) })
    }
}

impl SessionDirectory for TestSessions {
    fn page(&self, query: SessionQuery) -> BoxFuture<'_, Result<SessionPage, SessionsUnavailable>> {
        let cursor = query.cursor.unwrap_or_default();
        let rest: Vec<_> = CLIENTS.iter().filter(|id| **id > cursor.as_str()).collect();
        let page: Vec<_> = rest.iter().take(query.limit.into()).map(|id| test_session(id, query.filters)).collect();
        let next_cursor = page.last().filter(|_| page.len() < rest.len()).map(|last| last.client_id.clone());
        Box::pin(async move { Ok(SessionPage { sessions: page, next_cursor }) })
    }

    fn session<'a>(&'a self, client_id: &'a str) -> BoxFuture<'a, Result<Option<SessionInfo>, SessionsUnavailable>> {
        let answer = match client_id {
            "unavailable" => Err(SessionsUnavailable("no answer".into())),
            _ => Ok(CLIENTS.contains(&client_id).then(|| test_session(client_id, true))),
        };
        Box::pin(async move { answer })
    }
}

impl TestServer {
    async fn start() -> Self {
        Self::start_with(Server::default()).await
    }

    async fn start_with(server: Server) -> Self {
        Self::start_with_reserve(server, 32).await
    }

    async fn start_with_reserve(server: Server, mqtt_reserve: u64) -> Self {
        let history = |journal: &Journal| -> Arc<dyn EventStore> {
            Arc::new(History::new(journal.clone(), Arc::new(TestMapper)))
        };
        Self::start_on(server, mqtt_reserve, history).await
    }

    async fn start_on(server: Server, mqtt_reserve: u64, events: impl Fn(&Journal) -> Arc<dyn EventStore>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = open_journal(directory.path());
        let (streams, stop) = start(&journal, 1 << 20);
        let ready = Arc::new(AtomicBool::new(true));
        let services = Services {
            identities: Arc::new(
                Identities::new(IdentityGrants { owner: None, others: Vec::new() }).with_anyone(Grants::everything()),
            ),
            sign_in: SignIn::default(),
            caller_rate: limits::CALLER_RATE,
            publisher: Arc::new(TestPublisher),
            commander: Arc::new(TestCommander),
            mqtt: Some(Arc::new(|mut stream, peer| {
                tokio::spawn(async move {
                    // Stands for the broker: says who came, and what they said.
                    let mut said = [0; 5];
                    stream.read_exact(&mut said).await.unwrap();
                    stream.write_all(format!("{peer} ").as_bytes()).await.unwrap();
                    stream.write_all(&said).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            })),
            allowed_origins: vec!["https://example.org".parse().unwrap()],
            descriptors: Arc::new(Descriptors::new(1 << 20, 0, mqtt_reserve, 16)),
            streams,
            events: events(&journal),
            devices: Arc::new(TestDevices),
            dead_letters: None,
            consumers: Arc::new(TestConsumers),
            sessions: Arc::new(TestSessions),
            metrics: Arc::new(|| "up 1\n".to_owned()),
            health: Arc::new({
                let ready = Arc::clone(&ready);
                move || {
                    let ready = ready.load(std::sync::atomic::Ordering::Relaxed);
                    let state = if ready { HealthState::Ready } else { HealthState::Starting };
                    HealthSnapshot { live: true, ready, components: [("journal", state)].into() }
                }
            }),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(server.run(listener, services, stop.clone()));
        Self { address, journal, stop, running, ready, client: Client::new(), _directory: directory }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> (StatusCode, Value) {
        let response = self.get(path).await;
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// Sends bytes and reads until the server closes the connection.
    async fn exchange(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closing with bytes unread may come as a reset.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

/// Reads a stream until `wanted` is in it.
async fn read_until(response: &mut reqwest::Response, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    text
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_stream_shows_what_is_published_and_resumes() {
    let server = TestServer::start().await;
    let mut stream = server.get("/api/events/stream?topic=devices/%2B/telemetry&topic=alarms/%23").await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(header(stream.headers(), "content-type"), "text/event-stream");
    assert_eq!(header(stream.headers(), "cache-control"), "no-cache, no-store");
    assert_eq!(header(stream.headers(), "x-accel-buffering"), "no");
    let greeting = read_until(&mut stream, "\n\n").await;
    assert!(greeting.starts_with("data: {\"type\":\"connected\",\"clientId\":\""), "{greeting}");

    publish(&server.journal, "other/topic", "{}", Qos::AtLeastOnce).await;
    let first = publish(&server.journal, "devices/a/telemetry", "{\"n\":1}", Qos::AtMostOnce).await.last();
    publish(&server.journal, "alarms/fire/1", "{\"n\":2}", Qos::AtLeastOnce).await;
    let text = read_until(&mut stream, "\"n\":2").await;
    assert!(text.contains("\"n\":1") && !text.contains("other"), "{text}");
    drop(stream);

    // The header wins over the parameter, and an unescaped + still is a wildcard.
    let id = format!("{}-{first}", server.journal.epoch());
    let path = "/api/events/stream?topic=alarms/+/+&topic=devices/%23&last_event_id=00000000-0";
    let request = server.client.get(server.url(path)).header("Last-Event-ID", &id);
    let mut stream = request.send().await.unwrap();
    let text = read_until(&mut stream, "\"n\":2").await;
    assert!(!text.contains("\"n\":1") && !text.contains("event: gap"), "{text}");
}

#[tokio::test]
async fn a_foreign_last_event_id_is_a_gap_in_the_header_and_a_fault_in_the_url() {
    let server = TestServer::start().await;
    let request = server.client.get(server.url("/api/events/stream")).header("Last-Event-ID", "what?");
    let mut stream = request.send().await.unwrap();
    let text = read_until(&mut stream, "event: gap").await;
    assert!(text.contains("\"requested\":\"what?\""), "{text}");

    let (status, problem) = server.json("/api/events/stream?last_event_id=what").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(problem["parameter"], "last_event_id");
    assert_eq!(problem["detail"], "`last_event_id`: a last event ID looks like 1f3a9c02-48213");
}

#[tokio::test]
async fn an_answer_of_the_long_poll_comes_at_once_or_when_there_is_something() {
    let server = TestServer::start().await;
    let (_, empty) = server.json("/api/events?wait=0").await;
    assert_eq!(empty["messages"], json!([]));
    let mut last = empty["lastEventId"].as_str().unwrap().to_owned();
    // What was there before, also behind the window; then what comes while it waits.
    for n in 0..3 {
        let publishing = async {
            if n > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            publish(&server.journal, "other", "{}", Qos::AtLeastOnce).await;
            publish(&server.journal, "devices/a/t", &format!("{{\"n\":{n}}}"), Qos::AtLeastOnce).await.last()
        };
        let path = format!("/api/events?wait=50&topic=devices/%23&topic=x&after={last}");
        let ((status, answer), sequence) = if n == 0 {
            let sequence = publishing.await;
            (server.json(&path).await, sequence)
        } else {
            tokio::join!(server.json(&path), publishing)
        };
        assert_eq!(status, StatusCode::OK);
        last = format!("{}-{sequence}", server.journal.epoch());
        assert_eq!(answer["messages"].as_array().unwrap().len(), 1, "{answer}");
        assert_eq!((&answer["messages"][0]["id"], &answer["lastEventId"]), (&json!(last), &json!(last)));
    }
    // An id of another journal: what is missing is said, and what there is comes.
    let (_, answer) = server.json("/api/events?after=00000000-7").await;
    let kinds: Vec<_> = answer["messages"].as_array().unwrap().iter().map(|message| &message["type"]).collect();
    assert_eq!((kinds[0], kinds.len()), (&json!("gap"), 7), "{answer}");
    let (status, _) = server.json("/api/events?wait=0&cursor=x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn wrong_parameters_are_named_with_what_is_right() {
    let server = TestServer::start().await;
    for (path, parameter, hint) in [
        ("/api/events/stream?topic=a%23", "topic", "last character"),
        ("/api/events?topic=%23/a", "topic", "last character"),
        ("/api/events?limit=0", "limit", "1 to 1000"),
        ("/api/events?limit=1001", "limit", "1 to 1000"),
        ("/api/events?limit=ten", "limit", "1 to 1000"),
        ("/api/events?from=yesterday", "from", "RFC 3339"),
        ("/api/events?from=2026-01-31T12:00:00+02:00", "from", "a + must be written %2B in a URL"),
        ("/api/series?device=a&metric=b&to=2026-01-31T12:00:00+02:00", "to", "%2B"),
        ("/api/events?to=2026-13-01T00:00:00Z", "to", "RFC 3339"),
        ("/api/events?device=a&device=b", "device", "one value only"),
        ("/api/events?cursor=x", "cursor", "nextCursor"),
        ("/api/events?cursor=x&format=csv", "cursor", "nextCursor"),
        ("/api/events?order=up", "order", "asc"),
        ("/api/events?format=xml", "format", "ndjson"),
        ("/api/events?format=csv&limit=0", "limit", "1 or more"),
        ("/api/events?correlation=7", "correlation", "UUID"),
        ("/api/sessions?limit=1001", "limit", "1 to 1000"),
        ("/api/sessions?filters=yes", "filters", "true or false"),
        ("/api/sessions?cursor=a&cursor=b", "cursor", "one value only"),
        ("/api/events?subject=%00", "subject", "U+0000"),
        ("/api/events?type=a%00b", "type", "U+0000"),
        ("/api/series?device=a%00&metric=t", "device", "U+0000"),
        ("/api/series?device=a&metric=t%00", "metric", "U+0000"),
    ] {
        let (status, problem) = server.json(path).await;
        assert_eq!((status, &problem["status"]), (StatusCode::BAD_REQUEST, &json!(400)), "{path}");
        assert_eq!(problem["parameter"], parameter, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{path}: {problem}");
    }
    let many = "&type=t".repeat(33);
    let (status, problem) = server.json(&format!("/api/events/stream?{many}")).await;
    assert_eq!((status, &problem["parameter"]), (StatusCode::BAD_REQUEST, &json!("type")));
}

#[tokio::test]
async fn stored_events_are_pages_newest_first() {
    let server = TestServer::start().await;
    for n in 0..5 {
        publish(&server.journal, "devices/a/t", &format!("{{\"n\":{n}}}"), Qos::AtLeastOnce).await;
    }
    let (status, page) = server.json("/api/events?limit=3&unknown=1").await;
    assert_eq!(status, StatusCode::OK);
    let numbers = |page: &Value| {
        page["events"].as_array().unwrap().iter().map(|event| event["data"]["n"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&page), [4, 3, 2]);
    let cursor = page["nextCursor"].as_str().unwrap();
    let (_, page) = server.json(&format!("/api/events?limit=3&cursor={cursor}")).await;
    assert_eq!(numbers(&page), [1, 0]);
    assert_eq!(page["nextCursor"], Value::Null);
}

#[tokio::test]
async fn sessions_are_pages_by_client_identifier() {
    let server = TestServer::start().await;
    let (status, page) = server.json("/api/sessions?limit=3").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        page["sessions"][0],
        json!({
            "clientId": "a", "user": null, "connected": false, "since": "1970-01-01T00:00:00.000000Z", "peer": null,
            "protocolVersion": null, "keepAlive": null, "sessionExpiryInterval": 60, "expiresAt": null,
            "subscriptions": 1, "queuedMessages": 2, "queuedBytes": 3, "inFlight": 4, "dropped": 5,
            "droppedSince": "1970-01-01T00:00:00.000000Z",
        })
    );
    assert_eq!((page["sessions"].as_array().unwrap().len(), &page["nextCursor"]), (3, &json!("c/d e")));
    let (_, page) = server.json("/api/sessions?filters=true&cursor=c%2Fd%20e").await;
    assert_eq!((&page["sessions"][0]["clientId"], &page["sessions"][0]["filters"]), (&json!("d"), &json!(["x/#"])));
    assert_eq!(page["nextCursor"], Value::Null);
}

#[tokio::test]
async fn events_come_in_either_order_and_one_by_one() {
    let server = TestServer::start().await;
    for n in 0..5 {
        publish(&server.journal, "devices/a/telemetry", &format!("{{\"n\":{n}}}"), Qos::AtLeastOnce).await;
    }
    let (_, page) = server.json("/api/events?order=asc&limit=2").await;
    assert_eq!((&page["events"][0]["data"], &page["events"][1]["data"]), (&json!({"n": 0}), &json!({"n": 1})));
    let cursor = page["nextCursor"].as_str().unwrap();
    let (_, rest) = server.json(&format!("/api/events?order=asc&cursor={cursor}")).await;
    assert_eq!(rest["events"].as_array().unwrap().len(), 3);
    assert_eq!((&rest["events"][2]["data"], &rest["nextCursor"]), (&json!({"n": 4}), &Value::Null));

    let event = &page["events"][1];
    let (status, one) = server.json(&format!("/api/events/{}", event["id"].as_str().unwrap())).await;
    assert_eq!((status, &one), (StatusCode::OK, event));
    for (id, status) in
        [("00000000-0000-0000-0000-0000000f4240", StatusCode::NOT_FOUND), ("seven", StatusCode::BAD_REQUEST)]
    {
        assert_eq!(server.json(&format!("/api/events/{id}")).await.0, status, "{id}");
    }
}

#[tokio::test]
async fn downloads_hold_every_event_as_a_line_or_a_row() {
    let server = TestServer::start().await;
    let empty = server.get("/api/events?format=csv").await.text().await.unwrap();
    assert_eq!(empty.lines().count(), 1, "the names of columns: {empty:?}");
    // More than one page, and more than one query looks through.
    for n in 0..2500 {
        let payload = format!("{{\"n\":{n},\"text\":\"a \\\"quoted\\\", line\"}}");
        publish(&server.journal, "devices/a/telemetry", &payload, Qos::AtMostOnce).await;
    }
    let response = server.get("/api/events?format=ndjson&order=asc").await;
    assert_eq!(header(response.headers(), "content-type"), "application/x-ndjson");
    let text = response.text().await.unwrap();
    let numbers: Vec<_> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..2500).collect::<Vec<_>>());

    let request = server.client.get(server.url("/api/events?limit=1200")).header("Accept", "text/html, text/csv;q=0.9");
    let response = request.send().await.unwrap();
    assert_eq!(header(response.headers(), "content-type"), "text/csv; charset=utf-8; header=present");
    let text = response.text().await.unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let columns = rows.headers().unwrap().clone();
    let data = columns.iter().position(|name| name == "data").unwrap();
    let data: Vec<Value> = rows.records().map(|row| serde_json::from_str(&row.unwrap()[data]).unwrap()).collect();
    assert_eq!((data.len(), &data[0]), (1200, &json!({"n": 2499, "text": "a \"quoted\", line"})));
}

/// A store that has a second page, and then has not.
struct FailingStore;

impl EventStore for FailingStore {
    fn query(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, QueryError>> {
        Box::pin(async move {
            match query.cursor {
                None => Ok(EventPage { events: vec!["{}".to_owned()], next_cursor: Some("more".to_owned()) }),
                Some(_) => Err(QueryError::Unavailable("gone".into())),
            }
        })
    }

    fn series(&self, _: SeriesQuery) -> BoxFuture<'_, Result<Vec<Bucket>, QueryError>> {
        Box::pin(async { Err(QueryError::TooMuch("less, please".into())) })
    }

    fn event(&self, _: Uuid) -> BoxFuture<'_, Result<Option<String>, QueryError>> {
        Box::pin(async { Err(QueryError::Unavailable("gone".into())) })
    }
}

#[tokio::test]
async fn a_download_that_cannot_go_on_does_not_look_complete() {
    let server = TestServer::start_on(Server::default(), 32, |_| Arc::new(FailingStore)).await;
    let download = async { server.client.get(server.url("/api/events?format=ndjson")).send().await?.text().await };
    assert!(download.await.is_err());
    let path = format!("/api/events/{}", Uuid::nil());
    assert_eq!(server.get(&path).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn devices_are_pages_by_name() {
    let server = TestServer::start().await;
    let (status, page) = server.json("/api/devices").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "device": "pump 7", "subjectId": Uuid::nil(), "online": true, "since": "1970-01-01T00:00:00.000000Z",
        "clientId": "c", "firstSeen": "1970-01-01T00:00:00.000000Z", "lastSeen": "1970-01-01T00:00:00.000000Z",
        "events": 7, "lastType": "devices.telemetry.received", "lastTopic": "devices/pump 7/telemetry",
        "connections": [], "lastClosed": null,
    });
    assert_eq!(page, json!({"devices": [expected], "nextCursor": "pump 7"}));
    let (_, page) = server.json("/api/devices?metrics=true&cursor=pump%207").await;
    assert_eq!((&page["devices"][0]["metrics"]["t"]["value"], &page["nextCursor"]), (&json!(21.5), &Value::Null));

    let (status, device) = server.json("/api/devices/pump%207").await;
    assert_eq!((status, &device["metrics"]["t"]["value"]), (StatusCode::OK, &json!(21.5)));
    for (path, status) in [("nobody", StatusCode::NOT_FOUND), ("unavailable", StatusCode::SERVICE_UNAVAILABLE)] {
        assert_eq!(server.json(&format!("/api/devices/{path}")).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn who_reads_the_journal_and_how_far_is_told() {
    let server = TestServer::start().await;
    let (status, consumers) = server.json("/api/consumers").await;
    assert_eq!(status, StatusCode::OK);
    let behind = json!({
        "name": "timescale", "position": 3, "lagRecords": 2, "waitingSince": Micros::default(), "lagSeconds": 0.5,
    });
    assert_eq!(consumers["consumers"], json!([behind]));
    assert_eq!((&consumers["journal"]["maximumBytes"], &consumers["database"]), (&json!(1 << 30), &Value::Null));
    assert_eq!(consumers["health"]["ready"], true);
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_a_problem_like_any_other() {
    let server = TestServer::start().await;
    for path in ["/api/events/%FF", "/api/devices/%FF", "/api/sessions/%FF"] {
        let response = server.get(path).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(header(response.headers(), "content-type"), "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn one_session_is_found_by_its_client_identifier() {
    let server = TestServer::start().await;
    let (status, session) = server.json("/api/sessions/c%2Fd%20e").await;
    assert_eq!((status, &session["clientId"], &session["filters"]), (StatusCode::OK, &json!("c/d e"), &json!(["x/#"])));
    for (path, status) in [("nobody", StatusCode::NOT_FOUND), ("unavailable", StatusCode::SERVICE_UNAVAILABLE)] {
        let response = server.get(&format!("/api/sessions/{path}")).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn health_and_metrics_say_what_is_injected() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/metrics").await.text().await.unwrap(), "up 1\n");
    assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
    server.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(server.get("/healthz").await.status(), StatusCode::OK);
    let (status, body) = server.json("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let components = json!({"journal": {"state": "starting"}});
    assert_eq!(body, json!({"live": true, "ready": false, "components": components}));
}

#[tokio::test]
async fn the_page_is_served_with_its_guards_and_revalidated() {
    let server = TestServer::start().await;
    let response = server.get("/").await;
    let headers = response.headers().clone();
    let page = response.text().await.unwrap();
    assert_eq!(header(&headers, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
    assert!(header(&headers, "content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert!(!page.contains("style=") && !page.contains("onclick"), "the policy allows nothing inline");
    for reference in page.split(['"']).filter(|part| part.starts_with('/') && part.len() > 1) {
        assert_eq!(server.get(reference).await.status(), StatusCode::OK, "{reference}");
    }
    let again = server.client.get(server.url("/")).header("If-None-Match", header(&headers, "etag"));
    assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn refusals_are_problems() {
    let server = TestServer::start().await;
    let response = server.get("/nowhere").await;
    assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let response = server.client.post(server.url("/api/events")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(response.headers(), "allow"), "GET,HEAD");
    assert_eq!(header(response.headers(), "content-type"), "application/problem+json");
}

#[tokio::test]
async fn other_names_for_loopback_are_refused() {
    let server = TestServer::start().await;
    for (host, status) in [("evil.example:80", "403"), ("localhost:1", "200"), ("[::1]", "200")] {
        let answer =
            server.exchange(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let server = TestServer::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    // Preface, empty SETTINGS, and a HEADERS frame of static HPACK entries (RFC 9113, RFC 7541).
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    request.extend_from_slice(b"\0\0\x17\x01\x05\0\0\0\x01\x82\x86\x04\x08/healthz\x01\x09localhost");
    socket.write_all(&request).await.unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            assert_eq!(payload[0], 0x88, ":status 200 of the static table");
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_never_sends_a_whole_head_is_closed() {
    let server = TestServer::start_with(Server { head_timeout: Duration::from_millis(50), ..Server::default() }).await;
    for beginning in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let answer = server.exchange(beginning).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let server = TestServer::start_with(Server { connections: 1, ..Server::default() }).await;
    let mut stream = server.get("/api/events/stream").await;
    read_until(&mut stream, "\n\n").await;
    assert_eq!(server.exchange("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await, "");
}

#[tokio::test]
async fn streams_end_whole_when_the_server_stops() {
    let server = TestServer::start().await;
    let mut stream = server.get("/api/events/stream").await;
    read_until(&mut stream, "\n\n").await;
    server.stop.cancel();
    assert_eq!(stream.chunk().await.unwrap(), None);
    server.running.await.unwrap();
}

/// The head of a WebSocket's handshake, after which the connection is one.
fn upgrade(origin: &str, protocol: &str) -> String {
    format!(
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\nOrigin: {origin}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_websocket_is_handed_over_with_what_came_behind_its_handshake() {
    let server = TestServer::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let mut request = upgrade("https://example.org", "mqtt").into_bytes();
    // A frame of five bytes whose mask is 0.
    request.extend(b"\x82\x85\0\0\0\0hello");
    socket.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let (head, frames) = answer.split_at(answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
    let peer = format!("{} ", socket.local_addr().unwrap());
    let mut expected = vec![0x82, peer.len() as u8];
    expected.extend(peer.as_bytes());
    expected.extend(b"\x82\x05hello\x88\x02\x03\xe8");
    assert_eq!(frames, expected);
}

#[tokio::test]
async fn requests_that_may_not_become_a_websocket_are_problems() {
    let server = TestServer::start().await;
    for (request, status, hint) in [
        (upgrade("https://evil.example", "mqtt"), "403", "allowed_origins"),
        (upgrade("https://example.org", "chat"), "400", "subprotocol `mqtt`"),
        ("GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "426", "Upgrade: websocket"),
    ] {
        let answer = server.exchange(&request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains(hint), "{answer}");
    }
    // Every descriptor is kept for others.
    let server = TestServer::start_with_reserve(Server::default(), 1 << 20).await;
    let request = upgrade("https://example.org", "mqtt").replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    let answer = server.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

/// Reads until the text has all of these.
async fn read_text(socket: &mut TcpStream, wanted: &[&str]) -> String {
    let mut text = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&text);
        if wanted.iter().all(|wanted| so_far.contains(wanted)) {
            return so_far.into_owned();
        }
        assert!(socket.read_buf(&mut text).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
    }
}

#[tokio::test]
async fn a_stream_leaves_http_also_behind_other_answers() {
    let server = TestServer::start().await;
    let stream = "GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for before in [String::new(), health.to_owned(), health.repeat(20)] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(format!("{before}{stream}").as_bytes()).await.unwrap();
        let text = read_text(&mut socket, &["\"connected\"", "retry:"]).await;
        let answers: Vec<_> = text.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
        assert_eq!(answers.len(), before.matches("GET").count() + 1, "{text}");
        let (head, body) = answers.last().unwrap().split_once("\r\n\r\n").unwrap();
        for header in [
            "content-type: text/event-stream",
            "connection: close",
            "x-content-type-options: nosniff",
            "cache-control: no-cache, no-store",
            "date: ",
        ] {
            assert!(head.contains(header), "{head}");
        }
        assert!(!head.contains("content-length"), "{head}");
        // Nothing stands around events.
        assert!(body.starts_with("data: {"), "{body}");
        publish(&server.journal, "devices/a/t", "1", Qos::AtLeastOnce).await;
        // What a client says besides is not heard.
        socket.write_all(b"anything").await.unwrap();
        read_text(&mut socket, &["\"devices/a/t\""]).await;
    }
    let head =
        server.exchange(&stream.replace("GET", "HEAD").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn every_route_is_described_and_no_other() {
    let description: Value = serde_json::from_str(include_str!("page/openapi.json")).unwrap();
    let described: std::collections::BTreeSet<_> = description["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(|path| path.replace("{clientId}", "{client_id}"))
        .collect();
    // MQTT is described elsewhere.
    let routes = routes::api().into_iter().map(|(path, ..)| path.to_owned()).filter(|path| path != "/mqtt").collect();
    assert_eq!(described, routes);
}
