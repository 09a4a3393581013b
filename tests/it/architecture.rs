//! The rooms of `src/` and who may know whom. An edge that this table does not allow is a
//! decision to be made here, in view of the others, and not in passing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::in_package;

/// Rooms that everyone may know: they know nothing of ours.
const GROUND: [&str; 2] = ["types", "limits"];

/// Each room and the rooms it may know besides [`GROUND`]. Consumers of the journal are
/// siblings and never know each other; nobody but `main` and `cli` knows `app`.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("limits", &[]),
    ("config", &[]),
    ("certs", &[]),
    ("provisioning", &["auth", "certs"]),
    ("telemetry", &[]),
    ("journal", &[]),
    ("auth", &[]),
    ("mapping", &[]),
    ("formats", &[]),
    ("websocket", &[]),
    ("mqtt", &["journal", "auth", "websocket"]),
    ("timescale", &["journal"]),
    ("stream", &["journal", "websocket"]),
    ("devices", &["journal"]),
    ("egress", &["journal"]),
    ("outbound", &["journal"]),
    ("http", &["stream", "timescale", "auth", "websocket", "formats"]),
    ("app", &EVERYONE),
    ("cli", &["app", "auth", "config", "certs", "provisioning", "timescale", "formats"]),
    ("main", &["app", "cli", "config", "telemetry"]),
];

/// Whom the wiring may know.
const EVERYONE: [&str; 15] = [
    "auth",
    "certs",
    "config",
    "devices",
    "egress",
    "formats",
    "http",
    "journal",
    "mapping",
    "mqtt",
    "outbound",
    "provisioning",
    "stream",
    "telemetry",
    "timescale",
];

fn allowed(room: &str, other: &str) -> bool {
    let known = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, known)| known);
    other == room || GROUND.contains(&other) && !GROUND.contains(&room) || known.contains(&other)
}

/// The rooms that a source text names: what follows `root`, also within braces and also in the
/// middle of code. Comments, doc links and the tests at a file's end do not count.
fn named_rooms(source: &str, root: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: Vec<_> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join(" ");
    let mut rooms = BTreeSet::new();
    for (start, _) in code.match_indices(root) {
        let path = &code[start + root.len()..];
        match path.strip_prefix('{') {
            Some(group) => rooms.extend(first_segments(group)),
            None => rooms.extend(identifier(path)),
        }
    }
    rooms
}

/// The first path segments of a `use` group, up to its closing brace.
fn first_segments(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut depth, mut at_start) = (1, true);
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                found.extend(identifier(&group[place..]));
                at_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    // A macro at the crate's root is no room.
    (end > 0 && !text[end..].starts_with('!')).then(|| text[..end].to_owned())
}

/// Source files below a directory, but those that hold tests only.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The room that a file below `src/` belongs to.
fn room_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

#[test]
fn rooms_know_only_whom_they_may_know() {
    let root = in_package("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut faults = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let room = room_of(path);
        if room == "lib" {
            continue;
        }
        if !ROOMS.iter().any(|(name, _)| *name == room) {
            faults.push(format!("src/{}: the room `{room}` is not in the table", path.display()));
        }
        let root = if room == "main" { "synap_mqtt::" } else { "crate::" };
        let others = named_rooms(&fs::read_to_string(&file).unwrap(), root);
        let forbidden = others.iter().filter(|other| !allowed(&room, other));
        faults.extend(forbidden.map(|other| format!("src/{}: `{room}` must not know `{other}`", path.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_parser_sees_every_form_of_an_edge() {
    let source = "
        //! See [`crate::comment`].
        use crate::plain::Thing;
        use crate::{grouped::{inner, other::Deep}, second, third::{self}};
        fn f() -> crate::inline::Type { crate::a_macro!() } // crate::trailing
        \n#[cfg(test)]\nmod tests { use crate::test_only; }
    ";
    let found = named_rooms(source, "crate::");
    assert_eq!(found, ["grouped", "inline", "plain", "second", "third"].map(str::to_owned).into());
}

#[test]
fn siblings_and_the_app_are_closed() {
    let consumers = ["mqtt", "timescale", "stream", "egress", "outbound", "mapping"];
    for room in consumers {
        for other in consumers.iter().filter(|other| **other != room) {
            assert!(!allowed(room, other), "{room} → {other}");
        }
    }
    for (room, _) in ROOMS.iter().filter(|(room, _)| !["app", "cli", "main"].contains(room)) {
        assert!(!allowed(room, "app"), "{room} → app");
    }
}
