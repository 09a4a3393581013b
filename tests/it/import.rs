//! `synap-mqtt import`: what was exported, and a device's past, is in the table once, whatever ends an import.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::support::{
    bridge::{Bridge, Setup},
    clients::python,
    database::{Database, Row},
    eventually,
    process::Process,
    raw_mqtt::Version,
    sse::Sse,
};

/// A bridge that is not running, whose commands know the database.
async fn stopped(database: &Database, toml: &str) -> Bridge {
    let mut bridge = Setup::default().config(toml).timescale(&database.url()).start().await;
    bridge.terminate().await;
    bridge
}

/// Runs an import, and returns the line that it ends with.
async fn import(bridge: &Bridge, arguments: &[&str]) -> String {
    let mut command = bridge.command(&[&["import"], arguments].concat());
    command.end_input();
    assert!(command.status().await.success(), "{}", command.said());
    eventually("the last line", async || command.stderr.all().pop().filter(|line| line.ends_with(" s"))).await
}

fn event(n: u128) -> String {
    // Times of three years.
    let micros = 1_600_000_000_000_000 + i64::try_from(n).unwrap() * 1_800_000_000;
    let time = jiff::Timestamp::from_microsecond(micros).unwrap();
    format!(
        "{{\"id\":\"{}\",\"type\":\"a.b.c\",\"timestamp\":\"{time:.6}\",\"userId\":\"owner\",\"data\":{{\"n\":{n}}}}}",
        uuid::Uuid::from_u128(n + 1)
    )
}

async fn count(database: &Database, condition: &str) -> i64 {
    let sql = format!("select count(*) from events where {condition}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_comes_back_once_from_every_form() {
    let (first, second) = (Database::create().await, Database::create().await);
    let bridge = Setup::default().timescale(&first.url()).start().await;
    let mut device = bridge.client(Version::V5, "device").await;
    for n in 0..30 {
        device.publish("devices/pump-7/telemetry", format!("{{\"n\":{n}}}"), 1).await;
    }
    let sql = "insert into events (type, subject_id, subject_type, data, metadata, user_id, source, correlation_id)
         select 'notes.creation.completed', 'no uuid', 'note', '[1]', null, 'owner', 'automation', gen_random_uuid()
         from generate_series(1, 3)";
    sqlx::query(sql).execute(&first.pool).await.unwrap();
    let rows = first.rows(33).await;
    for name in ["e.ndjson", "e.csv", "e.parquet"] {
        bridge.command(&["export", "--output", name]).success().await;
    }
    let mut rewrite = python("parquet.py");
    rewrite.arg("rewrite").arg(bridge.home().join("e.parquet")).arg(bridge.home().join("foreign.parquet"));
    Process::start(rewrite).success().await;
    let said = import(&bridge, &["e.ndjson", "e.csv", "e.parquet", "foreign.parquet"]).await;
    assert!(said.starts_with("foreign.parquet: 0 events stored, 33 there already, 0 bad, "), "{said}");
    assert_eq!(first.rows(33).await, rows, "importing what is there changes nothing");

    let other = stopped(&second, "").await;
    for name in ["e.ndjson", "e.csv", "e.parquet"] {
        fs::copy(bridge.home().join(name), other.home().join(name)).unwrap();
    }
    bridge.finish(&[]).await;
    for (name, stored) in [("e.parquet", 33), ("e.csv", 0), ("e.ndjson", 0)] {
        let said = import(&other, &[name]).await;
        assert!(said.starts_with(&format!("{name}: {stored} events stored, {} there", 33 - stored)), "{said}");
    }
    let what_it_is = |row: &Row| (row.id.clone(), row.micros, row.event_type.clone(), row.data.clone());
    let again = second.rows(33).await;
    assert_eq!(again.iter().map(what_it_is).collect::<Vec<_>>(), rows.iter().map(what_it_is).collect::<Vec<_>>());
    for (row, before) in again.iter().zip(&rows) {
        assert_eq!(row.metadata["imported"]["file"], "e.parquet");
        assert_eq!(row.metadata["topic"], before.metadata["topic"]);
    }
    let kept = "subject_id = 'no uuid' and source = 'automation' and correlation_id is not null";
    assert_eq!(count(&second, kept).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_goes_on_where_it_was() {
    const EVENTS: u128 = 40_000;
    let database = Database::create().await;
    let bridge = stopped(&database, "").await;
    let lines = (0..EVENTS).fold(String::new(), |mut lines, n| {
        writeln!(lines, "{}", event(n)).unwrap();
        lines
    });
    fs::write(bridge.home().join("many.ndjson"), lines).unwrap();
    for least in [1, 6_000, 12_000] {
        let mut import = bridge.command(&["import", "many.ndjson"]);
        eventually("some are stored", async || (database.count().await >= least).then_some(())).await;
        import.kill();
    }
    let mut interrupted = bridge.command(&["import", "many.ndjson"]);
    eventually("more are stored", async || (database.count().await >= 20_000).then_some(())).await;
    if interrupted.status_now().is_none() {
        interrupted.signal("INT");
        let said = interrupted.failure().await;
        assert!(said.contains("interrupted; ") && said.contains("adds what is missing"), "{said}");
    }
    let said = import(&bridge, &["many.ndjson"]).await;
    assert!(said.contains(" there already, 0 bad, "), "{said}");
    let distinct: i64 = sqlx::query_scalar("select count(distinct (id, (data->>'n')::int)) from events")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!((database.count().await as u128, distinct as u128), (EVENTS, EVENTS));
    let chunks: i64 =
        sqlx::query_scalar("select count(*) from timescaledb_information.chunks where hypertable_name = 'events'")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert!(chunks > 800, "{chunks} days");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_named_and_nothing_is_lost_with_them() {
    let database = Database::create().await;
    let bridge = stopped(&database, "").await;
    let mut lines: Vec<_> = (0..10).map(event).collect();
    lines[3] = lines[3].replace("a.b.c", "");
    lines[6] = lines[6].replace("{\"n\":6}", "{\"n\":6,\"t\":\"\\u0000\"}");
    fs::write(bridge.home().join("e.ndjson"), lines.join("\n")).unwrap();

    let checked = bridge.command(&["import", "--check", "e.ndjson"]).failure().await;
    assert!(checked.contains("e.ndjson:4: `type`: is required") && checked.contains("9 events, 1 bad"), "{checked}");
    let said = bridge.command(&["import", "e.ndjson"]).failure().await;
    assert!(said.contains("e.ndjson:4: `type`: is required\n"), "{said}");
    assert!(said.contains("0 events stored, 0 there already, 1 bad") && said.contains("--skip-bad"), "{said}");
    assert_eq!(database.count().await, 0);

    let mut skipping = bridge.command(&["import", "--skip-bad", "e.ndjson"]);
    assert!(skipping.status().await.success(), "{}", skipping.said());
    let said = eventually("its last line", async || {
        let said = skipping.stderr.all();
        said.iter().any(|line| line.starts_with("e.ndjson: ")).then(|| said.join("\n"))
    })
    .await;
    assert!(said.contains("e.ndjson:4: `type`: is required"), "{said}");
    assert!(said.contains("e.ndjson:7: the table refuses it: ") && said.contains("\\u0000"), "{said}");
    assert!(said.contains("8 events stored, 0 there already, 2 bad, in e.ndjson.bad.ndjson, "), "{said}");
    assert_eq!(database.count().await, 8);

    let bad = bridge.home().join("e.ndjson.bad.ndjson");
    let kept = fs::read_to_string(&bad).unwrap();
    assert_eq!(kept, format!("{}\n{}\n", lines[3], lines[6]));
    fs::write(&bad, kept.replace("\"type\":\"\"", "\"type\":\"a.b.c\"").replace("\\u0000", "")).unwrap();
    let said = import(&bridge, &["e.ndjson.bad.ndjson"]).await;
    assert!(said.contains("2 events stored"), "{said}");
    assert_eq!(database.count().await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_is_said() {
    let database = Database::create().await;
    let bridge = stopped(&database, "").await;
    let home = bridge.home();
    fs::write(home.join("e.txt"), "").unwrap();
    fs::write(home.join("e.csv"), "time,x\n2026-01-31 12:00:00,1\n").unwrap();
    fs::write(home.join("e.parquet"), "PAR1").unwrap();
    for (arguments, says) in [
        (&["nowhere.csv"][..], "nowhere.csv: No such file"),
        (&["e.txt"], "--format says what it is"),
        (&["e.csv"], "\"time\" is none of them"),
        (&["e.parquet"], "cannot read it as Parquet"),
        (&["--format", "parquet", "-"], "not from standard input"),
        (&["--device", "pump-7", "e.csv"], "--time"),
        (&["--time", "time", "e.csv"], "--device names the device"),
        (&["--time", "when", "--device", "a", "e.csv"], "no column \"when\"; the first row names time, x"),
        (&["--time", "time", "--device", "a", "--columns", "y", "e.csv"], "no column \"y\""),
        (&["--time", "time", "--device", "a", "e.csv"], "e.csv:2: `time`: the time does not say where"),
        (&["--time", "time", "--device", "a", "--utc-offset", "2", "e.csv"], "+02:00"),
        (&["--time", "time", "--device", "a", "--topic", "devices/b/telemetry", "e.csv"], "the device b"),
        (&["--time", "time", "--device", "a/b", "e.csv"], "the device a/b"),
        (&["--time", "time", "--topic", "a/#", "e.csv"], "topic"),
    ] {
        let said = bridge.command(&[&["import"], arguments].concat()).failure().await;
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    assert_eq!(database.count().await, 0);
    let mut without = Bridge::start().await;
    without.terminate().await;
    fs::write(without.home().join("e.ndjson"), event(1)).unwrap();
    let said = without.command(&["import", "e.ndjson"]).failure().await;
    assert!(said.contains("`timescale.url` names none"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_joins_streams_only_where_it_is_asked_to() {
    let database = Database::create().await;
    let bridge = Setup::default().timescale(&database.url()).start().await;
    eventually("other writers are heard", async || {
        let sql = "select exists (select from pg_trigger where tgname = 'mqtt_arrivals')";
        sqlx::query_scalar::<_, bool>(sql).fetch_one(&database.pool).await.unwrap().then_some(())
    })
    .await;
    let mut stream = Sse::open(&bridge.url("/api/events/stream"), None).await;
    fs::write(bridge.home().join("quiet.ndjson"), event(1)).unwrap();
    fs::write(bridge.home().join("loud.ndjson"), format!("{}\n{}", event(1), event(2))).unwrap();
    import(&bridge, &["quiet.ndjson"]).await;
    let said = import(&bridge, &["--stream", "loud.ndjson"]).await;
    assert!(said.contains("1 events stored, 1 there already"), "{said}");
    assert_eq!(stream.event().await.1["data"]["n"], 2);
    bridge.finish(&[]).await;
}

/// The buoy's file as it is in the data set.
async fn sea_surface(to: &Path) -> usize {
    let lines = Process::start(python("sea_surface.py")).success().await;
    fs::write(to, lines.join("\n")).unwrap();
    lines.len() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_s_past_is_as_if_the_bridge_had_been_there() {
    const ROUTE: &str = "[pod]\nuser_id = \"oceanographer\"\n[[route]]\ntopic = \"buoys/{device}/sea\"\n\
        type = \"buoys.temperature.measured\"\nstore = \"both\"";
    let database = Database::create().await;
    let mut bridge = stopped(&database, ROUTE).await;
    let rows = sea_surface(&bridge.home().join("sea.csv")).await;
    assert!(rows > 18_000, "{rows}");
    let arguments = [
        "--time",
        "time (UTC)",
        "--columns",
        "temperature (celsius)=temperature",
        "--device",
        "buoy-1",
        "--topic",
        "buoys/buoy-1/sea",
        "sea.csv",
    ];
    let said = import(&bridge, &arguments).await;
    assert!(said.starts_with(&format!("sea.csv: {rows} events stored, {rows} measurements, 0 there")), "{said}");
    let said = import(&bridge, &arguments).await;
    assert!(said.starts_with(&format!("sea.csv: 0 events stored, {rows} there already, 0 bad")), "{said}");
    let like_live = "type = 'buoys.temperature.measured' and subject_type = 'device' and user_id = 'oceanographer'
         and source = 'migration' and metadata->>'device' = 'buoy-1' and metadata->'imported'->>'file' = 'sea.csv'
         and jsonb_typeof(data->'temperature') = 'number'";
    assert_eq!(count(&database, like_live).await, rows as i64);

    bridge.restart().await;
    bridge.ready().await;
    let get = async |path: &str| -> Value { reqwest::get(bridge.url(path)).await.unwrap().json().await.unwrap() };
    let series = get(
        "/api/series?device=buoy-1&metric=temperature&from=2016-02-15T00:00:00Z&to=2016-02-15T02:00:00Z&bucket=1h&fn=avg,count",
    )
    .await;
    let points = series["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["count"]), (2, &2.into()), "{series}");
    assert!((points[0]["avg"].as_f64().unwrap() - 4.908).abs() < 1e-9, "{series}");
    let events = get("/api/events?topic=buoys/%2B/sea&to=2016-02-15T00:00:01Z").await;
    assert_eq!(events["events"][0]["data"]["temperature"], 4.929, "{events}");
    bridge.finish(&[]).await;
}
