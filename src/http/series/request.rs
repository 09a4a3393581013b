//! What a client asks of a series.

use axum::http::Uri;
use serde_json::Value;

use crate::{
    http::{parameters::Parameters, problem::Problem},
    limits,
    types::{Bucket, Micros, SeriesQuery, seconds_of},
};

/// What a client asks of a series.
pub struct SeriesRequest {
    /// The question.
    pub query: SeriesQuery,
    /// The metric, as it was asked for.
    pub metric: String,
    /// What is wanted of each bucket.
    pub functions: Vec<Function>,
    /// Points that the answer has at most.
    pub most: usize,
    /// Whether the width of buckets is not the client's choice.
    pub is_width_open: bool,
}

/// One number made of a bucket's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `avg`
    Average,
    /// `min`
    Minimum,
    /// `max`
    Maximum,
    /// `last`
    Last,
    /// `count`
    Count,
}

const FUNCTIONS: [(&str, Function); 5] = [
    ("avg", Function::Average),
    ("min", Function::Minimum),
    ("max", Function::Maximum),
    ("last", Function::Last),
    ("count", Function::Count),
];

impl Function {
    /// Its name.
    pub fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// What it makes of a bucket.
    pub fn of(self, bucket: &Bucket) -> Value {
        match self {
            Self::Count => bucket.count.into(),
            other => other.value(bucket).into(),
        }
    }

    fn value(self, bucket: &Bucket) -> f64 {
        match self {
            Self::Average => bucket.average,
            Self::Minimum => bucket.minimum,
            Self::Maximum => bucket.maximum,
            Self::Last => bucket.last,
            Self::Count => bucket.count as f64,
        }
    }
}

/// Between which values the curve of these functions goes in a bucket. A count is of another kind, and matters where
/// it is alone.
pub fn extent(functions: &[Function], bucket: &Bucket) -> (f64, f64) {
    let is_alone = functions.iter().all(|function| *function == Function::Count);
    let shown = functions.iter().filter(|function| is_alone || **function != Function::Count);
    shown
        .map(|function| function.value(bucket))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Widths of buckets that fall on what a clock shows, in seconds.
const WIDTHS: [i64; 14] = [1, 2, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 10_800, 21_600, 86_400];

/// What a client asks of a series, `now`. Without `bucket`, the narrowest width that needs no more
/// than `max_points`; with it, that many of its points.
pub fn parse(uri: &Uri, now: Micros) -> Result<SeriesRequest, Problem> {
    let parameters = Parameters::of(uri);
    let required = |name: &'static str| parameters.one(name)?.ok_or_else(|| Problem::parameter(name, "is required"));
    let (device, metric) = (required("device")?.to_owned(), required("metric")?.to_owned());
    let to: Micros = parameters.parse("to")?.unwrap_or(now);
    let hour = Micros::saturating(to.get().saturating_sub(3_600_000_000));
    let from: Micros = parameters.parse("from")?.unwrap_or(hour);
    if from >= to {
        return Err(Problem::parameter("from", "expected a time before `to`"));
    }
    let wanted = parameters.points()?;
    let (width, is_width_open, most) = match parameters.one("bucket")? {
        Some(text) => (width(text)?, false, wanted.unwrap_or(limits::MAXIMUM_SERIES_POINTS)),
        None => {
            let most = wanted.unwrap_or(limits::SERIES_POINTS);
            (narrowest(from, to, most), true, most)
        }
    };
    if buckets(from, to, width) > i64::from(limits::MAXIMUM_SERIES_POINTS) {
        let most = limits::MAXIMUM_SERIES_POINTS;
        return Err(Problem::parameter("bucket", format_args!("expected at most {most} buckets from `from` to `to`")));
    }
    let query = SeriesQuery { device, path: path(&metric), from, to, width };
    let functions = functions(parameters.one("fn")?.unwrap_or("avg,min,max"))?;
    Ok(SeriesRequest { query, metric, functions, most: most as usize, is_width_open })
}

/// How many buckets of a width a span touches.
const fn buckets(from: Micros, to: Micros, width: i64) -> i64 {
    (to.get() - 1).div_euclid(width) - from.get().div_euclid(width) + 1
}

/// A JSON pointer, or names and indexes joined by dots.
fn path(metric: &str) -> Vec<String> {
    match metric.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
        None => metric.split('.').map(str::to_owned).collect(),
    }
}

/// What is wanted of each bucket.
pub fn functions(text: &str) -> Result<Vec<Function>, Problem> {
    let one = |name: &str| FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function);
    let known: Option<Vec<_>> = text.split(',').map(one).collect();
    known.ok_or_else(|| Problem::parameter("fn", "expected some of avg, min, max, last, count, with commas between"))
}

/// `90s`, `1m`, `6h` or `1d`, in microseconds.
fn width(text: &str) -> Result<i64, Problem> {
    let width = seconds_of(text).and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1_000_000));
    width
        .filter(|width| *width > 0)
        .ok_or_else(|| Problem::parameter("bucket", "expected a width such as 30s, 1m, 6h or 1d"))
}

fn narrowest(from: Micros, to: Micros, most: u32) -> i64 {
    let fits = |width: &i64| buckets(from, to, width * 1_000_000) <= i64::from(most);
    let days = to.get().saturating_sub(from.get()) / 86_400_000_000 / i64::from(most);
    WIDTHS.into_iter().find(fits).unwrap_or(86_400 * (days + 1)) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<SeriesRequest, Problem> {
        parse(&format!("/api/series?device=d&metric=a.b&{query}").parse().unwrap(), Micros::saturating(7_200_000_000))
    }

    #[test]
    fn the_last_hour_is_asked_for_in_buckets_that_fit_a_plot() {
        let request = ask("").unwrap();
        assert_eq!((request.query.from.get(), request.query.to.get()), (3_600_000_000, 7_200_000_000));
        assert_eq!((request.query.width, request.query.path), (10_000_000, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(ask("max_points=10").unwrap().query.width, 900_000_000);
        assert_eq!(ask("bucket=5m&fn=last,count").unwrap().query.width, 300_000_000);
        let years = ask("from=1900-01-01T00:00:00Z&max_points=100").unwrap().query;
        assert!(buckets(years.from, years.to, years.width) <= 101);
        assert_eq!(path("/a~1b/0"), ["a/b", "0"]);
    }

    #[test]
    fn a_width_is_as_asked_and_points_are_few_where_that_is_asked() {
        let request = ask("bucket=1m").unwrap();
        assert_eq!((request.most, request.is_width_open), (limits::MAXIMUM_SERIES_POINTS as usize, false));
        let request = ask("bucket=1s&max_points=100").unwrap();
        assert_eq!((request.query.width, request.most), (1_000_000, 100));
        // Five seconds off the minute, one more bucket of a minute is touched.
        assert_eq!(
            ask("from=1970-01-01T01:00:05Z&to=1970-01-01T02:00:05Z&max_points=60").unwrap().query.width,
            120_000_000
        );
    }

    #[test]
    fn a_curve_goes_between_the_values_that_are_shown() {
        let bucket = Bucket { start: Micros::default(), count: 7, average: 2.0, minimum: 1.0, maximum: 3.0, last: 2.5 };
        for (text, expected) in [("avg,count", (2.0, 2.0)), ("last,max", (2.5, 3.0)), ("count", (7.0, 7.0))] {
            assert_eq!(extent(&functions(text).unwrap(), &bucket), expected, "{text}");
        }
    }

    #[test]
    fn wrong_questions_name_the_parameter() {
        for query in [
            "bucket=1w",
            "bucket=0s",
            "fn=median",
            "from=2030-01-01T00:00:00Z",
            "max_points=0",
            "bucket=1s&from=1900-01-01T00:00:00Z",
        ] {
            assert!(ask(query).is_err(), "{query}");
        }
        assert!(parse(&"/api/series?device=d".parse().unwrap(), Micros::default()).is_err());
    }
}
