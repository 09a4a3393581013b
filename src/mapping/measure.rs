//! The numbers in an event's `data`, named by the way that leads to them.
//!
//! `{"t": 21.5, "motor": {"rpm": 900}, "cells": [3.9, 4.0]}` has `t`, `motor.rpm`, `cells.0` and
//! `cells.1`. A route may name those it wants, by JSON pointers in which `*` stands for any one
//! level; a pointer to an object or an array means all within. Where a name repeats, the last
//! counts, as in `jsonb`. Sparkplug metrics have names and times of their own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::time_window::TimeWindow;
use crate::{
    limits,
    types::{JsonText, Measurements, Micros},
};

/// Which numbers of an event are measurements.
#[derive(Debug, Default)]
pub struct Selection {
    /// Those at or below one of these places; all, where there is none.
    paths: Box<[Path]>,
    /// Whether true and false count, as 1 and 0.
    booleans: bool,
}

/// A place in JSON; none for a level that may have any name.
type Path = Box<[Option<Box<str>>]>;

impl Selection {
    /// Reads pointers; gives back the first that is none.
    pub fn parse(pointers: &[String], booleans: bool) -> Result<Self, String> {
        let path = |pointer: &String| {
            let tokens = pointer.strip_prefix('/').ok_or_else(|| pointer.clone())?.split('/');
            let levels = tokens.map(|token| (token != "*").then(|| token.replace("~1", "/").replace("~0", "~").into()));
            Ok::<Path, String>(levels.collect())
        };
        Ok(Self { paths: pointers.iter().map(path).collect::<Result<_, _>>()?, booleans })
    }

    /// Adds the numbers of `data`, which is valid JSON, at `time`.
    pub fn find(&self, data: &str, time: Micros, out: &mut Measurements) {
        let mut search = Search { name: String::new(), selection: self, time, out };
        let wanted: Vec<_> = self.paths.iter().map(|path| &**path).collect();
        search.value(&mut JsonText::new(data), &wanted);
    }

    /// Adds the metrics of a Sparkplug payload, each at its own time where that lies in the window.
    pub fn find_metrics(&self, data: &str, received: Micros, window: TimeWindow, time: Micros, out: &mut Measurements) {
        let Ok(Payload { metrics }) = serde_json::from_str(data) else { return };
        for SparkplugMetric { name, timestamp, value } in metrics {
            let Some(name) = name else { continue };
            if !self.paths.is_empty() && !self.paths.iter().any(|path| names(path, &name)) {
                continue;
            }
            let own = timestamp.and_then(|ms| Micros::new(i64::try_from(ms).ok()?.checked_mul(1000)?).ok());
            let time = own.filter(|own| window.holds(received, *own)).unwrap_or(time);
            if let Some(value) = value.and_then(|value| self.number(value.get())) {
                add(out, &name, value, time);
            }
        }
    }

    /// The value of a scalar that counts.
    fn number(&self, text: &str) -> Option<f64> {
        match text {
            "true" if self.booleans => Some(1.0),
            "false" if self.booleans => Some(0.0),
            number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                // Many of them can be summed up.
                number.parse().ok().filter(|value: &f64| value.abs() < limits::MEASUREMENT_BOUND)
            }
            _ => None,
        }
    }
}

fn names(path: &[Option<Box<str>>], name: &str) -> bool {
    matches!(path, [token] if token.as_deref().is_none_or(|token| token == name))
}

fn add(out: &mut Measurements, name: &str, value: f64, time: Micros) {
    if out.len() == limits::MAXIMUM_MEASUREMENTS || name.len() > limits::MAXIMUM_METRIC_BYTES {
        out.is_partial = true;
    } else {
        out.push(name, value, time);
    }
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    metrics: Vec<SparkplugMetric<'a>>,
}

#[derive(Deserialize)]
struct SparkplugMetric<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    timestamp: Option<u64>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// Walks through JSON.
struct Search<'a> {
    /// Where it is.
    name: String,
    selection: &'a Selection,
    time: Micros,
    out: &'a mut Measurements,
}

impl Search<'_> {
    /// Takes one value. `wanted` are the paths that lead here or further, less the levels that
    /// are behind; an empty one wants all from here.
    fn value(&mut self, text: &mut JsonText<'_>, wanted: &[&[Option<Box<str>>]]) {
        let Some(scalar) = text.each(|name, value| self.below(name, value, wanted)) else { return };
        let is_wanted = self.selection.paths.is_empty() || wanted.iter().any(|path| path.is_empty());
        if is_wanted && let Some(value) = self.selection.number(scalar) {
            add(self.out, &self.name, value, self.time);
        }
    }

    /// Takes the value of a member or an item.
    fn below<'w>(&mut self, name: &str, value: &mut JsonText<'_>, wanted: &[&'w [Option<Box<str>>]]) {
        let length = self.name.len();
        if length > 0 {
            self.name.push('.');
        }
        self.name.push_str(name);
        let further = |path: &&'w [Option<Box<str>>]| match path.split_first() {
            None => Some(*path),
            Some((token, rest)) => token.as_deref().is_none_or(|token| token == name).then_some(rest),
        };
        let wanted: SmallVec<[_; 4]> = wanted.iter().filter_map(further).collect();
        self.value(value, &wanted);
        self.name.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pointers: &[&str], booleans: bool, data: &str) -> Vec<(String, f64)> {
        let pointers: Vec<_> = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
        let mut out = Measurements::default();
        out.begin("");
        Selection::parse(&pointers, booleans).unwrap().find(data, Micros::default(), &mut out);
        out.iter().map(|one| (one.metric.to_owned(), one.value)).collect()
    }

    const DATA: &str = "{ \"t\" : 21.5 , \"on\":true,\"motor\":{\"rpm\":-9e2,\"name\":\"a\\\"},1\"},\n\
        \"cells\":[ 3.9,[4],\"x\",{ \"v\":5}], \"n\":null,\"e\":{},\"l\":[],\"a\\/b\\u0021\":7,\"huge\":9e999,\"large\":1e300}";

    #[test]
    fn all_numbers_are_found_by_the_way_that_leads_to_them() {
        let expected = [
            ("t", 21.5),
            ("motor.rpm", -900.0),
            ("cells.0", 3.9),
            ("cells.1.0", 4.0),
            ("cells.3.v", 5.0),
            ("a/b!", 7.0),
        ];
        assert_eq!(found(&[], false, DATA), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(found(&[], true, DATA)[1], ("on".to_owned(), 1.0));
        assert_eq!(found(&[], false, "{\"value\":4}"), [("value".to_owned(), 4.0)]);
        assert_eq!(found(&[], false, "{}"), []);
    }

    #[test]
    fn pointers_choose_with_wildcards() {
        let names =
            |pointers: &[&str]| found(pointers, false, DATA).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&["/t", "/motor"]), ["t", "motor.rpm"]);
        assert_eq!(names(&["/cells/*"]), ["cells.0", "cells.1.0", "cells.3.v"]);
        assert_eq!(names(&["/cells/*/v", "/a~1b!", "/nothing", "/t/below"]), ["cells.3.v", "a/b!"]);
        assert_eq!(Selection::parse(&["t".to_owned()], false).unwrap_err(), "t");
    }

    #[test]
    fn no_message_has_more_than_it_may() {
        let many = format!("[{}1]", "1,".repeat(limits::MAXIMUM_MEASUREMENTS));
        let mut out = Measurements::default();
        out.begin("");
        Selection::default().find(&many, Micros::default(), &mut out);
        assert_eq!((out.len(), out.is_partial), (limits::MAXIMUM_MEASUREMENTS, true));
    }

    #[test]
    fn sparkplug_metrics_have_their_own_names_and_times() {
        let data = r#"{"metrics":[{"name":"Node/T","timestamp":5000,"value":1.5},{"alias":4,"value":2},
            {"name":"s","value":"x"},{"name":"far","timestamp":99999999999999,"value":3},{"name":"b","value":true}]}"#;
        let received = Micros::saturating(7_000_000);
        let mut out = Measurements::default();
        out.begin("");
        Selection::default().find_metrics(data, received, TimeWindow::default(), received, &mut out);
        let all: Vec<_> = out.iter().map(|one| (one.metric, one.value, one.time.get())).collect();
        assert_eq!(all, [("Node/T", 1.5, 5_000_000), ("far", 3.0, 7_000_000)]);
        out.begin("");
        let one = Selection::parse(&["/Node~1T".to_owned()], false).unwrap();
        one.find_metrics(data, received, TimeWindow::default(), received, &mut out);
        assert_eq!(out.len(), 1);
    }
}
