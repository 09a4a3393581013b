//! docs/conformance.md against the standards' lists of statements on one side and the tests of
//! this binary on the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

/// A section with the first and the last of its statements.
type Section = (&'static str, u32, u32);

/// The two standards, as a test's name begins and as the table has it in a heading.
const STANDARDS: [(&str, &str, &[Section]); 2] =
    [("v5", "## MQTT 5.0", &STATEMENTS_OF_5_0), ("v311", "## MQTT 3.1.1", &STATEMENTS_OF_3_1_1)];

/// Sections of MQTT 5.0 with the first and the last statement of each (appendix B). The body of the
/// standard writes 4.2.0-1 as 4.2-1, and there is no 2.2.1-1.
const STATEMENTS_OF_5_0: [Section; 56] = [
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// The same of MQTT 3.1.1, which writes 3.8.3-4 as 3-8.3-4.
const STATEMENTS_OF_3_1_1: [Section; 39] = [
    ("1.5.3", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

/// One row.
struct Row {
    statement: String,
    binds: String,
    shown_by: String,
}

impl Row {
    /// The tests that show it; none where the row says why there are none.
    fn tests(&self) -> Vec<&str> {
        self.shown_by.split('`').skip(1).step_by(2).collect()
    }

    /// Why there are none.
    fn reason(&self) -> Option<&str> {
        self.shown_by.strip_prefix("none: ").or_else(|| self.feature())
    }

    /// The feature that is missing.
    fn feature(&self) -> Option<&str> {
        self.shown_by.strip_prefix("not yet: ")
    }
}

fn in_package(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The rows of one standard: below its heading, what begins with the number of a statement.
fn rows(heading: &str) -> Vec<Row> {
    let text = fs::read_to_string(in_package("docs/conformance.md")).unwrap();
    let own = text.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::to_owned).collect();
        let [statement, binds, says, shown_by] = cells.try_into().ok()?;
        assert!(!says.is_empty(), "{statement} says nothing");
        statement.starts_with(|c: char| c.is_ascii_digit()).then_some(Row { statement, binds, shown_by })
    };
    own.filter_map(row).collect()
}

/// Every statement of a standard, as `3.1.2-22`.
fn statements(sections: &[Section]) -> BTreeSet<String> {
    let of_section = |&(section, first, last): &Section| {
        let statement = move |number| format!("{section}-{number}");
        (first..=last).map(statement)
    };
    sections.iter().flat_map(of_section).collect()
}

/// The modules of this binary, by their declarations, with their sources.
fn modules() -> BTreeMap<String, String> {
    let main = fs::read_to_string(in_package("tests/conformance/main.rs")).unwrap();
    let declared = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let read = |module: &str| {
        let path = in_package("tests/conformance").join(module);
        let path = if path.is_dir() { path.join("mod.rs") } else { path.with_extension("rs") };
        (module.to_owned(), fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    declared.map(read).collect()
}

/// Every test function of this binary with its module: the name after an attribute that makes
/// it one.
fn test_functions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (module, source) in modules() {
        let lines: Vec<_> = source.lines().collect();
        for pair in lines.windows(2) {
            if !pair[0].starts_with("#[tokio::test") && pair[0] != "#[test]" {
                continue;
            }
            let name = pair[1].trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            let name = name.unwrap_or_else(|| panic!("{module}: a test without a name: {}", pair[1]));
            found.push((module.clone(), name.to_owned()));
        }
    }
    found
}

/// The statement that a test is named after: `v5_3_1_2_22_silence_…` after 3.1.2-22.
fn named_after<'a>(test: &'a str, standard: &str) -> Option<(String, &'a str)> {
    let mut parts = test.strip_prefix(standard)?.strip_prefix('_')?.splitn(5, '_');
    let numbers: Vec<&str> = parts.by_ref().take(4).collect();
    let is_number = |part: &&str| part.parse::<u32>().is_ok();
    (numbers.len() == 4 && numbers.iter().all(is_number))
        .then(|| (format!("{}.{}.{}-{}", numbers[0], numbers[1], numbers[2], numbers[3]), parts.next().unwrap_or("")))
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "docs/conformance.md:\n{}", faults.join("\n"));
}

#[test]
fn every_statement_has_one_row() {
    let mut faults = Vec::new();
    for (standard, heading, sections) in STANDARDS {
        let wanted = statements(sections);
        let mut seen = BTreeSet::new();
        for row in rows(heading) {
            if !wanted.contains(&row.statement) {
                faults.push(format!("{standard} {}: no such statement", row.statement));
            }
            if !seen.insert(row.statement.clone()) {
                faults.push(format!("{standard} {}: twice", row.statement));
            }
        }
        faults.extend(wanted.difference(&seen).map(|statement| format!("{standard} {statement}: missing")));
    }
    assert_none(&faults);
}

#[test]
fn the_lists_are_as_long_as_the_standards_own() {
    assert_eq!(STANDARDS.map(|(_, _, sections)| statements(sections).len()), [251, 141]);
}

#[test]
fn every_row_is_shown_by_tests_that_exist_or_says_why_not() {
    let functions: BTreeSet<_> = test_functions().into_iter().map(|(_, name)| name).collect();
    let mut faults = Vec::new();
    let mut missing = BTreeMap::<String, usize>::new();
    let mut counts = [0; 3];
    for (standard, heading, _) in STANDARDS {
        for row in rows(heading) {
            let tests = row.tests();
            let what = format!("{standard} {}", row.statement);
            if !["server", "client", "both"].contains(&row.binds.as_str()) {
                faults.push(format!("{what}: binds {:?}", row.binds));
            }
            if tests.is_empty() == row.reason().is_none_or(str::is_empty) {
                faults.push(format!("{what}: either tests or a reason"));
            }
            if row.binds != "client" && row.reason().is_some_and(|reason| reason.contains("client only")) {
                faults.push(format!("{what}: binds a server too"));
            }
            let unknown = tests.iter().filter(|test| !functions.contains(**test));
            faults.extend(unknown.map(|test| format!("{what}: there is no test {test}")));
            if let Some(feature) = row.feature() {
                *missing.entry(feature.to_owned()).or_default() += 1;
            }
            counts[if row.feature().is_some() { 2 } else { usize::from(tests.is_empty()) }] += 1;
        }
    }
    println!(
        "{} statements are shown by tests, {} need none, {} not yet: {missing:?}",
        counts[0], counts[1], counts[2]
    );
    assert_none(&faults);
}

#[test]
fn every_test_is_listed_with_the_statement_it_is_named_after() {
    let mut faults = Vec::new();
    let mut unique = BTreeSet::new();
    for (module, test) in test_functions().into_iter().filter(|(module, _)| module != "table") {
        let is_listed = |(standard, heading, _): (&str, &str, &[Section])| {
            let (statement, what) = named_after(&test, standard)?;
            let tests = rows(heading).into_iter().filter(|row| row.statement == statement);
            Some(!what.is_empty() && tests.filter(|row| row.tests().contains(&test.as_str())).count() == 1)
        };
        match STANDARDS.into_iter().find_map(is_listed) {
            Some(true) => {}
            Some(false) => faults.push(format!("{module}::{test}: not in the row of its statement")),
            None => faults.push(format!("{module}::{test}: named after no statement")),
        }
        if !unique.insert(test.clone()) {
            faults.push(format!("{module}::{test}: another test has this name"));
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_is_part_of_the_binary() {
    let modules = modules();
    for entry in fs::read_dir(in_package("tests/conformance")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "main" || modules.contains_key(&name), "{} is not declared", path.display());
    }
}
