//! What is written is read back, and what is wrong is named.

use std::io::Write;

use uuid::Uuid;

use super::*;
use crate::{limits, types::Micros};

const ORIGIN: &str = "\"imported\":{\"at\":\"2026-01-31T12:00:00.000000Z\",\"file\":\"f\"}";

/// Events of all kinds: a device's, another writer's without metadata, and one whose texts need care.
fn events() -> Vec<String> {
    let id = |n: u128| Uuid::from_u128(n << 64 | n);
    vec![
        format!(
            "{{\"id\":\"{}\",\"type\":\"devices.telemetry.received\",\"timestamp\":\"2026-01-31T12:00:00.000001Z\",\
             \"userId\":\"owner\",\"subjectId\":\"{}\",\"subjectType\":\"device\",\"data\":{{\"n\": 1e400}},\
             \"metadata\":{{\"topic\":\"a/b\"}},\"correlationId\":null,\"causationId\":null,\"source\":\"api\",\
             \"version\":\"v1\"}}",
            id(1),
            id(2)
        ),
        format!(
            "{{\"id\":\"{}\",\"type\":\"notes\",\"timestamp\":\"0001-01-01T00:00:00.000000Z\",\"userId\":\"owner\",\
             \"subjectId\":\"no uuid\",\"subjectType\":\"note\",\"data\":[1,\"\\ud800\"],\"metadata\":null,\
             \"correlationId\":\"{}\",\"causationId\":null,\"source\":null,\"version\":\"v1\"}}",
            id(3),
            id(4)
        ),
        format!(
            "{{\"id\":\"{}\",\"type\":\"a\\\"b\",\"timestamp\":\"9999-12-30T21:59:59.999999Z\",\"userId\":\"é,\\n\",\
             \"subjectId\":\"\\u2028\",\"subjectType\":\"x\",\"data\":{{\"a\":\"\\\"\\r\\n,\"}},\"metadata\":{{ }},\
             \"correlationId\":null,\"causationId\":null,\"source\":\"sync\",\"version\":\"v1\"}}",
            id(5)
        ),
    ]
}

fn written(format: Format, events: &[String]) -> Vec<u8> {
    let mut writer = EventWriter::new(format, Vec::new()).unwrap();
    events.iter().for_each(|event| writer.push(event).unwrap());
    writer.finish().unwrap()
}

fn read(format: Format, bytes: &[u8]) -> Result<Opened<ImportedEvent>, FileError> {
    let meter = Meter::default();
    if format == Format::Parquet {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        return read_parquet(file, &meter, ORIGIN);
    }
    read_text(format, Box::new(std::io::Cursor::new(bytes.to_vec())), &meter, ORIGIN)
}

fn all(format: Format, bytes: &[u8]) -> Vec<Entry<ImportedEvent>> {
    read(format, bytes).unwrap().entries.map(Result::unwrap).collect()
}

const FORMATS: [Format; 3] = [Format::Ndjson, Format::Csv, Format::Parquet];

#[test]
fn every_form_gives_back_the_same_events() {
    let (events, mut seen) = (events(), Vec::new());
    for format in FORMATS {
        let found: Vec<_> =
            all(format, &written(format, &events)).into_iter().map(|entry| entry.found.unwrap()).collect();
        let [first, second, third] = found.as_slice() else { panic!("{format:?}: {found:?}") };
        assert_eq!(first.timestamp, "2026-01-31T12:00:00.000001Z".parse().unwrap());
        assert_eq!(first.data, "{\"n\": 1e400}");
        assert_eq!(first.metadata, format!("{{\"topic\":\"a/b\",{ORIGIN}}}"));
        assert_eq!(second.timestamp, Micros::MIN);
        assert_eq!((&*second.subject_id, &*second.metadata), ("no uuid", &*format!("{{{ORIGIN}}}")));
        assert_eq!((second.correlation_id, &*second.source), (Some(Uuid::from_u128(4 << 64 | 4)), "migration"));
        assert_eq!(third.timestamp, Micros::MAX);
        assert_eq!((&*third.user_id, &*third.event_type, &*third.source), ("é,\n", "a\"b", "sync"));
        seen.push(found);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
}

#[test]
fn the_text_of_a_record_can_be_read_again() {
    for format in FORMATS {
        let bytes = written(format, &events());
        let header = read(format, &bytes).unwrap().header.map_or(String::new(), |header| header + "\n");
        for entry in all(format, &bytes) {
            let again = if format == Format::Csv { Format::Csv } else { Format::Ndjson };
            let [found] = &all(again, format!("{header}{}\n", entry.text).into_bytes().as_slice())[..] else {
                panic!("{format:?}: {}", entry.text)
            };
            assert_eq!(found.found, entry.found, "{format:?}");
        }
    }
}

#[test]
fn a_parquet_file_has_groups_of_bounded_size() {
    let mut event = events().remove(0);
    event = event.replace("1e400", &format!("\"{}\"", "x".repeat(60_000)));
    let events = vec![event; 300];
    let bytes = written(Format::Parquet, &events);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    use parquet::file::reader::FileReader;
    let reader = parquet::file::reader::SerializedFileReader::new(file).unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.len() >= 2, "{}", groups.len());
    let most = groups.iter().map(|group| group.total_byte_size()).max().unwrap();
    assert!(most < 2 * limits::PARQUET_GROUP_BYTES as i64, "{most}");
    assert_eq!(all(Format::Parquet, &bytes).len(), 300);
    assert_eq!(all(Format::Parquet, &written(Format::Parquet, &[])).len(), 0);
}

#[test]
fn what_is_wrong_with_a_line_is_named() {
    let good = &events()[0];
    for (change, says) in [
        (("\"id\":\"0", "\"id\":\"x"), "`id`: expected a UUID"),
        (("2026-01-31T12", "2026-01-32T12"), "`timestamp`: expected an RFC 3339 time"),
        (("\"timestamp\":\"2026-01-31T12:00:00.000001Z\",", ""), "`timestamp`: is required"),
        (("\"owner\"", "\"\""), "`userId`: is required"),
        (("\"owner\"", "7"), "`userId`: invalid type: integer `7`, expected a string"),
        (("\"devices.telemetry.received\"", "\"\""), "`type`: is required"),
        (("{\"topic\":\"a/b\"}", "7"), "`metadata`: expected a JSON object"),
        (("\"subjectType\":\"device\",", ""), "`subjectType`: is required where there is a subject"),
        (("\"v1\"", "\"v2\""), "`version`: expected v1"),
        (("\"causationId\":null", "\"causationId\":\"y\""), "`causationId`: expected a UUID"),
        (("\"source\":", "\"sauce\":"), "unknown field `sauce`"),
        (("\"version\":\"v1\"}", "\"version\":\"v1\""), "not a JSON object"),
        (("1e400", "1e"), "not a JSON object"),
    ] {
        let (from, to) = change;
        assert!(good.contains(from), "{from}");
        let file = format!("\n{}\n{good}\n", good.replacen(from, to, 1));
        let entries = all(Format::Ndjson, file.as_bytes());
        let [bad, rest] = &entries[..] else { panic!("{entries:?}") };
        let error = bad.found.as_ref().unwrap_err().to_string();
        assert!(error.contains(says) && bad.line == 2, "{error}: {says}");
        assert!(rest.found.is_ok() && rest.line == 3);
    }
    let entries = all(Format::Ndjson, b"\xff\n");
    assert_eq!(entries[0].found.as_ref().unwrap_err().to_string(), "it is not UTF-8");
}

#[test]
fn what_has_no_column_is_kept_in_the_metadata() {
    let id = Uuid::from_u128(9);
    let line = events()[0].replace("\"causationId\":null", &format!("\"causationId\":\"{id}\",\"requestId\":\"{id}\""));
    let entries = all(Format::Ndjson, line.as_bytes());
    let metadata = &entries[0].found.as_ref().unwrap().metadata;
    assert_eq!(*metadata, format!("{{\"topic\":\"a/b\",\"causationId\":\"{id}\",\"requestId\":\"{id}\",{ORIGIN}}}"));
    let bare = format!(
        "{{\"id\":\"{id}\",\"type\":\"t\",\"timestamp\":\"2026-01-31T12:00:00Z\",\"userId\":\"o\",\"data\":{{}}}}"
    );
    let entries = all(Format::Ndjson, bare.as_bytes());
    let event = entries[0].found.as_ref().unwrap();
    assert_eq!((&*event.subject_id, &*event.subject_type), (&*id.to_string(), "event"));
}

#[test]
fn rows_that_are_none_are_named_by_their_line() {
    let good = String::from_utf8(written(Format::Csv, &events())).unwrap();
    let short = good.replacen(",device,", ",", 1);
    let entries = all(Format::Csv, short.as_bytes());
    assert!(entries[0].found.as_ref().unwrap_err().to_string().contains("11 fields, and the first row names 12"));
    // The third event's fields have line ends within.
    assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [2, 3, 4]);
    for (from, to, says) in
        [("userId", "owner", "\"owner\""), ("userId,", "", "no \"userId\""), ("type", "id", "twice")]
    {
        let error = read(Format::Csv, good.replacen(from, to, 1).as_bytes()).err().unwrap().to_string();
        assert!(error.contains(says) && error.contains("--time COLUMN"), "{error}");
    }
}

#[test]
fn an_open_quote_or_an_endless_line_takes_no_more_than_a_record_may_have() {
    let header = "id,type,timestamp,userId,data\n";
    let endless = vec![b'x'; limits::FILE_RECORD_BYTES + (1 << 20)];
    let quoted = [header.as_bytes(), b"\"", &endless].concat();
    let error = read(Format::Csv, &quoted).unwrap().entries.find_map(Result::err).unwrap();
    assert!(matches!(error, FileError::TooLong { line: 2 }), "{error}");
    let error = read(Format::Ndjson, &[b"\n", &endless[..]].concat()).unwrap().entries.find_map(Result::err).unwrap();
    assert!(matches!(error, FileError::TooLong { line: 2 }), "{error}");
}

#[test]
fn files_that_are_no_parquet_are_refused() {
    for bytes in [&b""[..], b"PAR1", b"PAR1xxxxPAR1", &written(Format::Parquet, &events())[..400]] {
        let error = read(Format::Parquet, bytes).err().unwrap();
        assert!(matches!(error, FileError::Parquet(_)), "{error}");
    }
}

fn plain(csv: &str, choices: &[&str], times: TimeOptions) -> Result<Vec<Entry<PlainRow>>, FileError> {
    let choices: Vec<Choice> = choices.iter().map(|choice| choice.parse().unwrap()).collect();
    let input = Box::new(std::io::Cursor::new(csv.as_bytes().to_vec()));
    Ok(read_plain(input, &Meter::default(), "time", &choices, times)?.entries.map(Result::unwrap).collect())
}

#[test]
fn cells_become_numbers_booleans_and_text() {
    let csv = "\u{feff}time,a (°C),b\n2026-01-31T12:00:00Z, 4.5 ,true\n1769860800,+.5,007\n1769860800000,-5.,NaN\n\
               2026-01-31 12:00:00+02:00,,\"x \"\"y\"\"\"\n";
    let rows: Vec<_> =
        plain(csv, &[], TimeOptions::default()).unwrap().into_iter().map(|entry| entry.found.unwrap()).collect();
    let noon: Micros = "2026-01-31T12:00:00Z".parse().unwrap();
    assert_eq!(rows.iter().map(|row| row.time.get() - noon.get()).collect::<Vec<_>>(), [0, 0, 0, -7_200_000_000]);
    assert_eq!(
        rows.iter().map(|row| row.data.as_str()).collect::<Vec<_>>(),
        [
            r#"{"a (°C)":4.5,"b":true}"#,
            r#"{"a (°C)":0.5,"b":"007"}"#,
            r#"{"a (°C)":-5,"b":"NaN"}"#,
            r#"{"b":"x \"y\""}"#
        ]
    );
    let chosen = plain(csv, &["a (°C)=temperature"], TimeOptions::default()).unwrap();
    assert_eq!(chosen[0].found.as_ref().unwrap().data, r#"{"temperature":4.5}"#);
    for (choices, says) in [(&["c"][..], "no column \"c\""), (&["b=a (°C)", "a (°C)"], "two columns are called")] {
        let error = plain(csv, choices, TimeOptions::default()).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn times_of_many_forms_are_understood_and_none_is_guessed() {
    let read = |text: &str, format: Option<&str>, offset: Option<&str>| {
        let times = TimeOptions { format: format.map(str::to_owned), offset: offset.map(|text| text.parse().unwrap()) };
        let mut entries = plain(&format!("time,x\n{text},1\n"), &[], times).unwrap();
        entries.remove(0).found.map(|row| row.time.to_string()).map_err(|error| error.to_string())
    };
    let noon = Ok("2010-03-24T09:51:00.000000Z".to_owned());
    assert_eq!(read("2010-03-24 09:51:00", None, Some("Z")), noon);
    assert_eq!(read("2010-03-24 11:51:00", None, Some("+02:00")), noon);
    assert_eq!(read("3/24/10 4:21", Some("%m/%d/%y %H:%M"), Some("-0530")), noon);
    assert_eq!(read("24.03.2010 10:51 +0100", Some("%d.%m.%Y %H:%M %z"), None), noon);
    for (text, format, says) in [
        ("2010-03-24 09:51:00", None, "--utc-offset"),
        ("yesterday", None, "--time-format"),
        ("", None, "expected a time"),
        ("24.3.", Some("%d.%m.%Y"), "`time`: "),
    ] {
        let error = read(text, format, None).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    for wrong in ["", "2", "+2", "+25:00", "+02:60", "CET"] {
        assert!(wrong.parse::<UtcOffset>().is_err(), "{wrong}");
    }
}
