//! What a user sees of the configuration: values, defaults, and every kind of mistake with its place.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use super::{load::parse, *};
use crate::types::Reliability;

/// The settings, or the problems one per line.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    parse(text, Some(Path::new("pod.toml")), variables, |_| Vec::new()).map_err(|error| error.to_string())
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    read(text, variables).unwrap_err().lines().map(str::to_owned).collect()
}

#[test]
fn nothing_said_means_the_defaults() {
    let settings =
        read("", &[("HOME", "/root"), ("SYNAP_MQTT_SERVICE_HOST", "10.0.0.1"), ("DATABASE_URL", "")]).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.listeners[0].bind.to_string(), "127.0.0.1:1883");
    assert_eq!(settings.listeners[0].tls, None);
    assert_eq!(settings.listeners[1].bind.to_string(), "127.0.0.1:8883");
    assert_eq!(settings.listeners[1].tls, Some(TlsSettings::default()));
    assert_eq!(settings.http.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.warnings(), Vec::<String>::new());
}

#[test]
fn a_file_sets_keys() {
    let text = r#"
        data_dir = "/var/lib/synap-mqtt"
        pod.user_id = "user-1"
        http.bind = "[::1]:80"
        timescale.url = "postgres://synap:secret@db/pod"
        limits = { memory = "64MiB", maximum_packet_size = 65536 }
        journal.retain_age = "36h"

        [[listener]]
        bind = "0.0.0.0:8883"
        tls = { cert = "a.pem", key = "a.key", client_ca = "ca.pem" }
        [[listener]]
        bind = "0.0.0.0:1883"
        tls = false
        allow_anonymous = true

        [[route]]
        topic = "site/{site}/{device}"
        type = "devices.telemetry.received"
        subject = "{site}-{device}"
        timestamp = "/at"
        reliability = "exactly-once"
    "#;
    let settings = read(text, &[]).unwrap();
    assert_eq!(settings.limits, LimitSettings { memory: 64 << 20, maximum_packet_size: 65_536 });
    assert_eq!(settings.journal.retain_age.as_secs(), 36 * 3600);
    let timescale = settings.timescale.as_ref().unwrap();
    assert_eq!((timescale.url.expose(), timescale.import), ("postgres://synap:secret@db/pod", true));
    let certificate = Certificate::Files { cert: "a.pem".into(), key: "a.key".into() };
    assert_eq!(
        settings.listeners[0].tls,
        Some(TlsSettings { certificate, client_ca: Some("ca.pem".into()), ..TlsSettings::default() })
    );
    assert_eq!(settings.listeners[1].tls, None);
    let [route] = settings.routes.as_slice() else { panic!("{:?}", settings.routes) };
    assert_eq!((route.reliability, route.stream, &*route.subject_type), (Reliability::ExactlyOnce, true, "device"));
    let [warning] = settings.warnings().try_into().unwrap();
    assert!(warning.contains("`listener[1].bind` 0.0.0.0:1883"), "{warning}");
    assert!(!format!("{settings:?}").contains("secret"));
}

#[test]
fn how_long_events_are_kept_is_read_checked_and_written() {
    let text = "[timescale]\nurl = \"postgres://db/pod\"\npassword_file = \"p\"\ntable = \"pod.events\"\n\
        retention = \"90d\"\ncompress_after = \"36h\"";
    let settings = read(text, &[]).unwrap();
    let timescale = settings.timescale.as_ref().unwrap();
    let hours = |age: std::time::Duration| age.as_secs() / 3600;
    assert_eq!((timescale.retention.map(hours), timescale.compress_after.map(hours)), (Some(90 * 24), Some(36)));
    assert!(settings.notes()[0].contains("community licence"), "{:?}", settings.notes());
    assert_eq!(read(&toml::to_string(&settings).unwrap(), &[]), Ok(settings));

    let found = problems(&text.replace("36h", "90d"), &[]);
    assert_eq!(found, ["pod.toml:6: `timescale.compress_after`: must be shorter than `timescale.retention`"]);
    let found = problems(&text.replace("90d", "5m"), &[]);
    assert!(
        found[0].contains("`timescale.retention`: invalid value: string \"5m\", expected a time from 1h"),
        "{found:?}"
    );
    let found = problems(&text.replace("pod.events", "Events"), &[]);
    assert!(found[0].contains("`timescale.table`: expected the name of a table"), "{found:?}");
}

#[test]
fn how_long_measurements_are_kept_is_read_checked_and_written() {
    let text = "[timescale]\nurl = \"postgres://db/pod\"\n[timescale.measurements]\nretention = \"30d\"\n\
        retention_1m = \"365d\"\nretention_1h = \"3650d\"\ncompress_after = \"7d\"";
    let settings = read(text, &[]).unwrap();
    let kept = &settings.timescale.as_ref().unwrap().measurements;
    let days = [kept.retention, kept.retention_1m, kept.retention_1h, kept.compress_after]
        .map(|age| age.map(|age| age.as_secs() / 86_400));
    assert_eq!(days, [30, 365, 3_650, 7].map(Some));
    let [note] = settings.notes().try_into().unwrap();
    assert!(note.starts_with("`timescale.measurements.compress_after` needs"), "{note}");
    assert_eq!(read(&toml::to_string(&settings).unwrap(), &[]), Ok(settings.clone()));
    let variables = [
        ("DATABASE_URL", "postgres://db/pod"),
        ("SYNAP_MQTT__TIMESCALE__MEASUREMENTS__RETENTION", "30d"),
        ("SYNAP_MQTT__TIMESCALE__MEASUREMENTS__RETENTION_1M", "365d"),
        ("SYNAP_MQTT__TIMESCALE__MEASUREMENTS__RETENTION_1H", "3650d"),
        ("SYNAP_MQTT__TIMESCALE__MEASUREMENTS__COMPRESS_AFTER", "7d"),
    ];
    assert_eq!(read("", &variables), Ok(settings));

    // What is finer goes first, and what has no age never goes.
    for (from, to, problem) in [
        ("365d", "29d", "pod.toml:5: `timescale.measurements.retention_1m`: must not be shorter than"),
        ("3650d", "364d", "pod.toml:6: `timescale.measurements.retention_1h`: must not be shorter than"),
        ("\"30d\"", "\"30d\"\nretention_1d = \"9d\"", "unknown key `retention_1d`"),
        ("retention = \"30d\"\n", "", "pod.toml:4: `timescale.measurements.retention_1m`: must not be shorter than"),
        (
            "retention_1m = \"365d\"\n",
            "",
            "pod.toml:5: `timescale.measurements.retention_1h`: must not be shorter than",
        ),
        ("\"7d\"", "\"30d\"", "`timescale.measurements.compress_after`: must be shorter than"),
        (
            "\"30d\"",
            "\"23h\"",
            "`timescale.measurements.retention`: invalid value: string \"23h\", expected a time from 1d",
        ),
    ] {
        let found = problems(&text.replace(from, to), &[]);
        assert!(found.len() == 1 && found[0].contains(problem), "{to}: {found:?}");
    }
    let equal = text.replace("365d", "30d").replace("3650d", "30d");
    assert!(read(&equal, &[]).is_ok(), "they may go at the same time");
}

#[test]
fn listeners_are_of_many_kinds() {
    let text = r#"
        http.allowed_origins = ["https://example.org"]
        [[listener]]
        bind = "unix:/run/mqtt.sock"
        mode = "600"
        [[listener]]
        bind = "0.0.0.0:443"
        protocol = "websocket"
        allowed_origins = ["HTTPS://Example.org:443", "http://localhost:3000"]
        proxy_protocol = true
        tls = true
        allow_anonymous = true
    "#;
    let settings = read(text, &[]).unwrap();
    let [unix, websocket] = settings.listeners.as_slice() else { panic!("{:?}", settings.listeners) };
    assert_eq!(unix.bind.to_string(), "unix:/run/mqtt.sock");
    assert_eq!(unix.mode.unwrap().bits(), 0o600);
    assert_eq!((unix.protocol, unix.proxy_protocol), (Protocol::Mqtt, false));
    assert_eq!((websocket.protocol, websocket.proxy_protocol), (Protocol::Websocket, true));
    let origins: Vec<_> = websocket.allowed_origins.iter().map(|origin| origin.0.to_string()).collect();
    assert_eq!(origins, ["https://example.org", "http://localhost:3000"]);
    assert_eq!(settings.http.allowed_origins, websocket.allowed_origins[..1]);
    assert_eq!(FileMode::default().to_string(), "0660");
    let [warning] = settings.warnings().try_into().unwrap();
    assert!(warning.contains("`listener[1].bind` 0.0.0.0:443") && warning.contains("proxy"), "{warning}");
}

#[test]
fn ports_ask_for_what_there_is_to_check_it_with() {
    let listeners = [
        "",
        "authentication = \"optional\"\nallow_anonymous = true",
        "authentication = \"none\"\nallow_anonymous = true",
    ]
    .map(|keys| format!("[[listener]]\nbind = \"0.0.0.0:0\"\n{keys}\n"))
    .concat();
    let tls = "[[listener]]\nbind = \"0.0.0.0:0\"\ntls = true\n";
    let settings = read(&format!("auth.password_file = \"passwords\"\n{listeners}{tls}"), &[]).unwrap();
    let asked: Vec<_> =
        settings.listeners.iter().map(|listener| settings.auth.effective(listener.authentication)).collect();
    use Authentication::{None, Optional, Required};
    assert_eq!(asked, [Required, Optional, None, Required]);
    assert_eq!(settings.auth.effective(settings.http.authentication), Required);
    let warnings = settings.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("without TLS, passwords can be read"), "{warnings:?}");
    assert!(warnings[1].contains("anyone who reaches it may publish and subscribe"), "{warnings:?}");

    assert_eq!(AuthSettings::default().effective(Option::None), None);
    let found = problems(&listeners.replace("0.0.0.0", "127.0.0.1"), &[]);
    assert_eq!(
        found,
        [
            "pod.toml:6: `listener[1].authentication`: needs the accounts of `auth.password_file`, `auth.devices` or `auth.jwt`"
        ]
    );
    let found = problems("[http]\nauthentication = \"require\"", &[]);
    assert!(found[0].ends_with("did you mean `required`?"), "{found:?}");
}

#[test]
fn what_is_written_is_read_back() {
    for listener in [
        "bind = \"0.0.0.0:1\"\ntls = { client_ca = \"ca.pem\" }",
        "bind = \"127.0.0.1:1\"\ntls = { client_ca = \"ca.pem\", client_crl = \"crl.pem\", client_certificate = \"optional\", client_identity = \"email\", bind_client_id = true }",
        "bind = \"127.0.0.1:2\"\n[[auth.rule]]\ndeny = [\"receive\"]\ntopics = [\"a/%u\"]\nroles = [\"cooks\"]\nanonymous = true\n[auth.roles]\ncooks = [\"anna\"]",
        "bind = \"unix:a.sock\"\nmode = \"0600\"\nproxy_protocol = true",
        "bind = \"[::]:1\"\nallow_anonymous = true\nprotocol = \"websocket\"\nallowed_origins = [\"https://example.org\"]\ntls = true",
    ] {
        let text = format!("[[listener]]\n{listener}\n[[route]]\ntopic = \"a/{{b}}\"\ntype = \"a.b.c\"\n");
        let settings = read(&text, &[]).unwrap();
        assert_eq!(read(&toml::to_string(&settings).unwrap(), &[]), Ok(settings));
    }
}

#[test]
fn web_clients_are_asked_who_they_are_once_they_can_say_so() {
    let text = "http.bind = \"0.0.0.0:80\"\nhttp.auth.api_keys = true\n[http.auth.kratos]\nurl = \"http://kratos:4433/k/\"\n\
                [[http.auth.grant]]\nusers = [\"a\"]\nallow = [\"publish=a/#\", \"admin\"]\n";
    let settings = read(text, &[]).unwrap();
    assert!(!settings.http.is_open());
    assert_eq!(read(&toml::to_string(&settings).unwrap(), &[]), Ok(settings.clone()));
    let kratos = settings.http.auth.kratos.as_ref().unwrap();
    assert_eq!(kratos.address().unwrap().as_str(), "http://kratos:4433/k/sessions/whoami");
    assert_eq!(kratos.cookie, "ory_kratos_session");
    let [warning] = settings.warnings().try_into().unwrap();
    assert!(warning.contains("`http.auth.kratos.url`") && warning.contains("without TLS"), "{warning}");
    let alone = problems("[http.auth.introspection]\nurl = \"http://issuer\"\nclient_id = \"a\"", &[]);
    assert!(
        alone[0].contains("`http.auth.introspection.client_id`: needs `client_secret_file` beside it"),
        "{alone:?}"
    );
    for open in ["", "http.auth.requests_per_second = 5", "http.auth.api_keys = true\nhttp.allow_anonymous = true"] {
        assert!(read(open, &[]).unwrap().http.is_open(), "{open}");
    }
    assert!(!read("", &[("SYNAP_MQTT__HTTP__AUTH__API_KEYS", "true")]).unwrap().http.is_open());
}

#[test]
fn each_mistake_is_told_with_its_line_and_what_would_be_right() {
    for (text, problem) in [
        (
            "\n[mqtt]\nrecieve_maximum = 5",
            "pod.toml:3: `mqtt.recieve_maximum`: unknown key `recieve_maximum`, expected one of",
        ),
        ("\n[mqtt]\nrecieve_maximum = 5", "; did you mean `receive_maximum`?"),
        ("[pdo]\nuser_id = \"x\"", "pod.toml:1: `pdo`: unknown key `pdo`"),
        (
            "\n\n[stream]\nheartbeat = 20",
            "pod.toml:4: `stream.heartbeat`: invalid value: integer `20`, expected a time from 1s to 5m",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\ntls = { client_crl = \"crl.pem\" }",
            "pod.toml:3: `listener[0].tls.client_crl`: is about the certificates of clients, which need `client_ca`",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\ntls = { client_ca = \"ca.pem\", client_certificate = \"optional\" }",
            "pod.toml:3: `listener[0].tls.client_certificate`: certificates that nobody must show, and that name nobody",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\ntls = { client_ca = \"ca.pem\", bind_client_id = true }",
            "pod.toml:3: `listener[0].tls.bind_client_id`: binds to the name in the certificate: set `client_identity`",
        ),
        (
            "[[listener]]\nbind = \"0.0.0.0:1\"\ntls = { client_ca = \"ca.pem\", client_certificate = \"optional\", client_identity = \"dns\" }",
            "pod.toml:2: `listener[0].bind`: 0.0.0.0:1 is open to other machines and asks nobody who they are",
        ),
        (
            "[auth.jwt]\nissuer = \"x\"",
            "`auth.jwt.key_file`: either `key_file` or `jwks_url` must be given, for the issuer's keys, and not both",
        ),
        (
            "[auth.jwt]\njwks_url = \"issuer.example\"",
            "pod.toml:2: `auth.jwt.jwks_url`: expected an address such as \"https://issuer.example.org/jwks.json\"",
        ),
        ("[auth.jwt]\nkey_file = \"a.pem\"\njwks_ca = \"ca.pem\"", "pod.toml:3: `auth.jwt.jwks_ca`: is for `jwks_url`"),
        ("[auth.jwt]\njwks_interval = \"10ms\"", "pod.toml:2: `auth.jwt.jwks_interval`:"),
        ("[http.auth]\napi_key = true", "unknown key `api_key`"),
        ("[http.auth.jwt]\nissuer = \"a\"", "`http.auth.jwt.key_file`: either `key_file` or `jwks_url`"),
        (
            "[http.auth.jwt]\nkey_file = \"a\"\nacl_claim = \"mqtt\"",
            "`http.auth.jwt.acl_claim`: is for devices: web clients have the scopes of `http.auth.grant`",
        ),
        ("[http.auth.kratos]\nurl = \"kratos:4433\"", "`http.auth.kratos.url`: expected an address such as"),
        (
            "[http.auth.introspection]\nurl = \"http://u:p@issuer\"",
            "`http.auth.introspection.url`: expected an address such as",
        ),
        (
            "[[http.auth.grant]]\nusers = [\"a\"]\nallow = [\"admin\"]",
            "`http.auth.grant`: is for identities, which nothing here makes known",
        ),
        (
            "[http.auth]\nkratos.url = \"http://127.0.0.1\"\n[[http.auth.grant]]\nusers = [\"a\"]\nallow = [\"read\"]",
            "expected stream:read, events:read, publish, commands or admin",
        ),
        ("mqtt = 5", "pod.toml:1: `mqtt`: invalid type: integer `5`, expected a table"),
        (
            "[mqtt]\n\nreceive_maximum = 0",
            "pod.toml:3: `mqtt.receive_maximum`: invalid value: integer `0`, expected a whole number from 1 to 65535",
        ),
        (
            "[mqtt]\nreceive_maximum = \"5\"",
            "pod.toml:2: `mqtt.receive_maximum`: invalid value: string \"5\", expected a whole number",
        ),
        (
            "[http]\nbind = \"localhost:80\"",
            "pod.toml:2: `http.bind`: invalid value: string \"localhost:80\", expected an IP address and a port, such as",
        ),
        (
            "[limits]\nmemory = \"12 apples\"",
            "pod.toml:2: `limits.memory`: invalid value: string \"12 apples\", expected a size from 16MiB to 1TiB, such as \"128MiB\"",
        ),
        (
            "[limits]\nmemory = \"64MiB\"\nmaximum_packet_size = \"9MiB\"",
            "pod.toml:3: `limits.maximum_packet_size`: must not exceed 8388608, the bytes of `limits.memory` that wait",
        ),
        ("[timescale]\n", "pod.toml:1: `timescale`: missing key `url`"),
        (
            "[timescale]\nurl = \"mysql://synap:secret@db/pod\"",
            "pod.toml:2: `timescale.url`: expected a URL such as postgres://",
        ),
        ("[[listener]]\n[[listener]]\nbind = \"127.0.0.1:1\"", "pod.toml:1: `listener[0]`: missing key `bind`"),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\n\n[[listener]]\nbind = \"127.0.0.1:1\"",
            "pod.toml:5: `listener[1].bind`: 127.0.0.1:1 is taken by `listener[0].bind`",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\ntls = { cert = \"a\" }",
            "pod.toml:3: `listener[0].tls`: `cert` needs its `key`",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\n[listener.tls]\ncrt = \"a\"",
            "pod.toml:4: `listener[0].tls.crt`: unknown key `crt`",
        ),
        (
            "[[listener]]\nbind = \"localhost:1883\"",
            "pod.toml:2: `listener[0].bind`: invalid value: string \"localhost:1883\", expected an IP address and a port, such as \"127.0.0.1:1883\" or \"[::1]:1883\", or a socket file, such as \"unix:/",
        ),
        ("[[listener]]\nbind = \"unix:\"", "pod.toml:2: `listener[0].bind`: the path behind unix: is missing"),
        (
            "[[listener]]\nbind = \"unix:a\"\n[[listener]]\nbind = \"unix:a\"",
            "pod.toml:4: `listener[1].bind`: unix:a is taken by `listener[0].bind`",
        ),
        (
            "[[listener]]\nbind = \"unix:a\"\nmode = 660",
            "pod.toml:3: `listener[0].mode`: invalid type: integer `660`, expected permissions in octal, such as \"0660\"",
        ),
        (
            "[[listener]]\nbind = \"unix:a\"\nmode = \"0689\"",
            "pod.toml:3: `listener[0].mode`: invalid value: string \"0689\", expected permissions in octal",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\nmode = \"0660\"",
            "pod.toml:3: `listener[0].mode`: is for a socket file, such as bind = \"unix:/",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\nprotocol = \"websockets\"",
            "pod.toml:3: `listener[0].protocol`: unknown value `websockets`, expected `mqtt` or `websocket`; did you mean `websocket`?",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\nallowed_origins = [\"https://example.org\"]",
            "pod.toml:3: `listener[0].allowed_origins`: is for web pages, which need protocol = \"websocket\"",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\nproxy_protocol = \"v2\"",
            "pod.toml:3: `listener[0].proxy_protocol`: invalid type: string \"v2\", expected a boolean",
        ),
        (
            "[http]\nallowed_origins = [\"https://example.org/\"]",
            "pod.toml:2: `http.allowed_origins[0]`: invalid value: string \"https://example.org/\", expected the origin of a web page without a path",
        ),
        (
            "[http]\nmaximum_connections = 0",
            "pod.toml:2: `http.maximum_connections`: invalid value: integer `0`, expected a whole number from 1 to 1000000",
        ),
        (
            "[http]\nmaximum_connections_per_address = \"all\"",
            "pod.toml:2: `http.maximum_connections_per_address`: invalid",
        ),
        ("[http]\nwrite_timeout = \"1ms\"", "pod.toml:2: `http.write_timeout`: invalid value"),
        (
            "[[listener]]\nbind = \"127.0.0.1:1\"\ntls = 7",
            "pod.toml:3: `listener[0].tls`: invalid type: integer `7`, expected true, false, or a table",
        ),
        (
            "[[route]]\ntopic = \"a\"\ntype = \"a.b.c\"\nreliability = \"guarantee\"",
            "pod.toml:4: `route[0].reliability`: unknown value `guarantee`, expected one of `best-effort`, `guaranteed`, `exactly-once`; did you mean `guaranteed`?",
        ),
        (
            "[[route]]\ntopic = \"a/pump-{n}\"\ntype = \"a.b.c\"",
            "pod.toml:2: `route[0].topic`: `pump-{n}`: a named part such as `{device}` must stand alone",
        ),
        (
            "[[route]]\ntopic = \"a/{n}\"\ntype = \"a.b\"",
            "pod.toml:3: `route[0].type`: \"a.b\": expected {domain}.{action}.{modifier}",
        ),
        (
            "[[route]]\ntopic = \"a/{n}\"\ntype = \"a.b.c\"\nsubject = \"{m}\"",
            "pod.toml:4: `route[0].subject`: `{m}` is no part that `topic` names in \"a/{n}\"",
        ),
        (
            "[http]\nbind = \"0.0.0.0:80\"",
            "pod.toml:2: `http.bind`: 0.0.0.0:80 is open to other machines, and stream, page",
        ),
        (
            "[[listener]]\nbind = \"[::]:1883\"\ntls = true",
            "pod.toml:2: `listener[0].bind`: [::]:1883 is open to other machines and asks nobody who they are: it needs",
        ),
        (
            "auth.password_file = \"p\"\n[[listener]]\nbind = \"10.0.0.1:1\"\nauthentication = \"optional\"",
            "pod.toml:3: `listener[0].bind`: 10.0.0.1:1 is open to other machines and asks nobody",
        ),
        (
            "[[auth.rule]]\nallow = [\"publish\"]",
            "pod.toml:1: `auth.rule[0].topics`: a rule has at least one topic: topics = [\"devices/%c/#\"]",
        ),
        ("[[auth.rule]]\ntopics = [\"a\"]", "pod.toml:1: `auth.rule[0].allow`: a rule allows or denies something"),
        (
            "[[auth.rule]]\nallow = [\"publish\"]\ndeny = [\"receive\"]\ntopics = [\"a\"]",
            "pod.toml:3: `auth.rule[0].deny`: a rule either allows or denies; write two",
        ),
        (
            "[[auth.rule]]\nallow = [\"pubish\"]\ntopics = [\"a\"]",
            "pod.toml:2: `auth.rule[0].allow[0]`: unknown value `pubish`, expected one of `publish`, `subscribe`, `receive`; did you mean `publish`?",
        ),
        (
            "[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\n  \"a/#\",\n  \"b/pump-%c\"]",
            "pod.toml:5: `auth.rule[0].topics[1]`: \"b/pump-%c\": %c and %u must stand alone in their level",
        ),
        (
            "[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\"a\"]\nroles = [\"cook\"]\n[auth.roles]\ncooks = [\"anna\"]",
            "pod.toml:4: `auth.rule[0].roles`: \"cook\" is no role of `auth.roles`",
        ),
        (
            "[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\"a\"]\nrefused_subscribe = \"filter\"",
            "pod.toml:4: `auth.rule[0].refused_subscribe`: is for rules about \"subscribe\"",
        ),
        (
            "[auth]\nrefused_publish = \"drop\"",
            "pod.toml:2: `auth.refused_publish`: unknown value `drop`, expected `acknowledge` or `disconnect`",
        ),
        ("[log]\nformat = \"xml\"", "pod.toml:2: `log.format`: unknown value `xml`, expected `text` or `json`"),
        ("[log]\nfilter = \"synap_mqtt=loud\"", "pod.toml:2: `log.filter`: "),
        (
            "[pod]\nuser_id = \"\"",
            "pod.toml:2: `pod.user_id`: invalid value: string \"\", expected text that is not empty",
        ),
        ("a = 99999999999999999999", "pod.toml:1: `a`: "),
        ("a = 1\na = 2", "pod.toml:2: duplicate key"),
        ("\n\n[pod\n", "pod.toml:3: "),
    ] {
        let found = read(text, &[]).unwrap_err();
        assert!(found.contains(problem), "{text}\ngives {found}\nwithout {problem}");
        assert!(!found.contains("secret"), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn one_run_finds_all_mistakes() {
    let text =
        "pots = 1\n[http]\nbind = 80\n[timescale]\nurl = \"x\"\n[[route]]\ntopic = \"{\"\ntype = \"t\"\nstream = 1";
    let found = problems(text, &[("SYNAP_MQTT__LOG__FORMAT", "xml"), ("SYNAP_MQTT__NOPE", "1")]);
    let places: Vec<_> = found.iter().filter_map(|line| line.split_once("`: ")).map(|(place, _)| place).collect();
    assert_eq!(
        places,
        [
            "pod.toml:1: `pots",
            "pod.toml:3: `http.bind",
            "pod.toml:5: `timescale.url",
            "pod.toml:7: `route[0].topic",
            "pod.toml:8: `route[0].type",
            "pod.toml:9: `route[0].stream",
            "environment variable SYNAP_MQTT__LOG__FORMAT: `log.format",
            "environment variable SYNAP_MQTT__NOPE: `nope",
        ],
        "{found:#?}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let text =
        "[pod]\nuser_id = \"file\"\n[limits]\nmemory = \"64MiB\"\n[[listener]]\nbind = \"127.0.0.1:1\"\ntls = true";
    let settings = read(
        text,
        &[
            ("SYNAP_MQTT__POD__USER_ID", "42"),
            ("SYNAP_MQTT__LIMITS__MEMORY", "33554432"),
            ("SYNAP_MQTT__MQTT__RECEIVE_MAXIMUM", "7"),
            ("SYNAP_MQTT__LISTENER__0__BIND", "127.0.0.1:2"),
            ("SYNAP_MQTT__LISTENER__0__TLS__CLIENT_CA", "ca.pem"),
            ("SYNAP_MQTT__LISTENER__1__BIND", "[::1]:3"),
            ("SYNAP_MQTT__LISTENER__1__TLS", "true"),
            ("SYNAP_MQTT__ROUTE", "[{ topic = \"a\", type = \"a.b.c\" }]"),
            ("SYNAP_MQTT__LOG__FILTER", "debug"),
            ("RUST_LOG", "trace"),
        ],
    )
    .unwrap();
    assert_eq!(settings.pod.user_id, "42");
    assert_eq!(settings.limits.memory, 32 << 20);
    assert_eq!(settings.mqtt.receive_maximum, 7);
    let tls = TlsSettings { client_ca: Some("ca.pem".into()), ..TlsSettings::default() };
    let listener = |bind: &str, tls| ListenerSettings {
        bind: bind.parse().unwrap(),
        tls: Some(tls),
        ..listener::default_listeners().swap_remove(0)
    };
    assert_eq!(settings.listeners, [listener("127.0.0.1:2", tls), listener("[::1]:3", TlsSettings::default())]);
    assert_eq!(settings.routes.len(), 1);
    assert_eq!(settings.log.filter.as_str(), "debug");
}

#[test]
fn the_own_variable_wins_over_the_shared_one_and_that_over_the_file() {
    let url = |text, variables: &[_]| read(text, variables).unwrap().timescale.unwrap().url.expose().to_owned();
    let file = "[timescale]\nurl = \"postgres://file/pod\"";
    let shared = ("DATABASE_URL", "postgres://shared/pod");
    let own = ("SYNAP_MQTT__TIMESCALE__URL", "postgres://own/pod");
    assert_eq!(url(file, &[]), "postgres://file/pod");
    assert_eq!(url(file, &[shared]), "postgres://shared/pod");
    assert_eq!(url("", &[shared]), "postgres://shared/pod");
    assert_eq!(url(file, &[own, shared]), "postgres://own/pod");
    assert_eq!(read("", &[("RUST_LOG", "warn")]).unwrap().log.filter.as_str(), "warn");
}

#[test]
fn a_bad_variable_is_named() {
    for (variable, value, problem) in [
        (
            "SYNAP_MQTT__LIMITS__MEMROY",
            "1",
            "`limits.memroy`: unknown key `memroy`, expected `memory` or `maximum_packet_size`; did you mean `memory`?",
        ),
        (
            "SYNAP_MQTT__MQTT__RESPONSE_INFORMATION",
            "replies/+",
            "`mqtt.response_information`: invalid value: string \"replies/+\", expected the beginning of a topic name, \
             such as \"replies/%c\"",
        ),
        (
            "SYNAP_MQTT__MQTT__RECEIVE_MAXIMUM",
            "70000",
            "`mqtt.receive_maximum`: invalid value: integer `70000`, expected a whole number from 1 to 65535",
        ),
        (
            "SYNAP_MQTT__MQTT__RECEIVE_MAXIMUM",
            "many",
            "`mqtt.receive_maximum`: invalid value: string \"many\", expected a whole number",
        ),
        (
            "SYNAP_MQTT__LISTENER__1__BIND",
            "127.0.0.1:1",
            "`listener[1].bind`: elements are numbered without gaps; the next is 0",
        ),
        (
            "SYNAP_MQTT__LISTENER__0__BIND",
            "127.0.0.1:8080",
            "`listener[0].bind`: 127.0.0.1:8080 is taken by `http.bind`",
        ),
        ("SYNAP_MQTT__ROUTE", "[{ topic = \"a\" }]", "`route[0]`: missing key `type`"),
        ("DATABASE_URL", "mysql://synap:secret@db/pod", "`timescale.url`: expected a URL such as postgres://"),
        ("RUST_LOG", "synap_mqtt=loud", "`log.filter`: "),
    ] {
        let found = problems("", &[(variable, value)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("environment variable {variable}: {problem}")), "{}", found[0]);
        assert!(!found[0].contains("secret"), "{}", found[0]);
    }
}

/// The example with its optional keys switched on: they stand behind a `#` without a space.
fn full_example() -> String {
    let uncommented = |line: &str| {
        let setting =
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
        setting.unwrap_or(line).to_owned()
    };
    example().lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

fn example() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/synap-mqtt.toml")).unwrap()
}

#[test]
fn the_example_shows_the_defaults() {
    assert_eq!(read(&example(), &[]), Ok(Settings::default()));
}

#[test]
fn presence_is_told_of_named_clients_and_can_be_limited_and_switched_off() {
    let device = |text: &str, client_id: &str| {
        let clients = read(text, &[]).unwrap().presence.clients();
        clients.device(client_id).map(str::to_owned)
    };
    assert_eq!(device("", "pump-7").as_deref(), Some("pump-7"));
    assert_eq!(device("", "mqttjs_1f3a"), None);
    let limited = "[presence]\ndevices = [\"sensor-{device}\"]\nexcept = [\"sensor-test\"]";
    assert_eq!(device(limited, "sensor-7").as_deref(), Some("7"));
    assert_eq!((device(limited, "sensor-test"), device(limited, "pump-7")), (None, None));
    assert_eq!(device("[presence]\nevents = false", "pump-7"), None);
    assert_eq!(
        read("", &[("SYNAP_MQTT__PRESENCE__EVENTS", "false")]).unwrap().presence.clients(),
        crate::types::DeviceClients::default()
    );
    let many = format!("[presence]\ndevices = {:?}", vec!["a*"; limits::PRESENCE_PATTERNS + 1]);
    for (text, expected) in [
        ("[presence]\ndevices = [\"a*b*\"]", "may stand once"),
        ("[presence]\nexcept = [\"\"]", "is not empty"),
        ("[presence]\nclients = []", "clients"),
        (&*many, "at most 64 patterns"),
    ] {
        let problems = problems(text, &[]);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?}");
    }
}

#[test]
fn the_example_shows_every_key() {
    let full = full_example();
    read(&full, &[]).unwrap();
    let document: toml::Table = full.parse().unwrap();

    // serde lists the keys of a table when it is given one that is not among them.
    let mut tables = BTreeMap::from([(String::new(), &document)]);
    for (name, value) in &document {
        let table = value.as_array().and_then(|elements| elements.last()).unwrap_or(value);
        tables.extend(table.as_table().map(|table| (name.clone(), table)));
    }
    assert_eq!(tables.len(), 16, "{:?}", tables.keys());
    for (name, table) in tables {
        let key = if name.is_empty() { "?".to_owned() } else { format!("{name}.?") };
        let header = match document.get(&name) {
            Some(toml::Value::Array(_)) => format!("[[{name}]]\n"),
            Some(_) => format!("[{name}]\n"),
            None => String::new(),
        };
        let found = read(&format!("{header}\"?\" = 1"), &[]).unwrap_err();
        let listed =
            found.lines().find(|line| line.contains("unknown key `?`")).unwrap_or_else(|| panic!("{key}: {found}"));
        let known: Vec<_> = listed.split("expected").nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{listed}");
        for known in known {
            assert!(table.contains_key(known), "the example lacks `{known}` in [{name}]");
        }
    }
}
