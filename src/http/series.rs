//! `GET /api/series`: one metric over time.

use axum::{Json, extract::State, http::Uri};
use serde_json::{Map, Value, json};

use super::{parameters::Parameters, problem::Problem, routes::Context};
use crate::{
    limits,
    types::{Bucket, Micros, SeriesQuery},
};

/// `GET /api/series`
pub async fn series(State(context): State<Context>, uri: Uri) -> Result<Json<Value>, Problem> {
    let SeriesRequest { query, metric, functions } = request(&uri, now())?;
    let buckets = context.services.events.series(query.clone()).await?;
    Ok(Json(json!({
        "device": query.device,
        "metric": metric,
        "from": query.from,
        "to": query.to,
        "bucketSeconds": query.width / 1_000_000,
        "points": points(&buckets, query.width, &functions),
    })))
}

fn now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros::saturating(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// One point a bucket. Where buckets are missing between two, one point of nulls stands for them all, so
/// that a line drawn through the points has a gap.
fn points(buckets: &[Bucket], width: i64, functions: &[Function]) -> Vec<Value> {
    let mut points = Vec::with_capacity(buckets.len());
    let mut expected = buckets.first().map_or(0, |first| first.start.get());
    for bucket in buckets {
        if bucket.start.get() > expected {
            points.push(point(Micros::saturating(expected), functions, |_| Value::Null));
        }
        points.push(point(bucket.start, functions, |function| match function {
            Function::Average => bucket.average.into(),
            Function::Minimum => bucket.minimum.into(),
            Function::Maximum => bucket.maximum.into(),
            Function::Last => bucket.last.into(),
            Function::Count => bucket.count.into(),
        }));
        expected = bucket.start.get() + width;
    }
    points
}

fn point(time: Micros, functions: &[Function], value: impl Fn(Function) -> Value) -> Value {
    let mut point = Map::new();
    point.insert("time".to_owned(), json!(time));
    point.extend(functions.iter().map(|function| (function.name().to_owned(), value(*function))));
    Value::Object(point)
}

/// What a client asks of a series.
struct SeriesRequest {
    /// The question.
    query: SeriesQuery,
    /// The metric, as it was asked for.
    metric: String,
    /// What is wanted of each bucket.
    functions: Vec<Function>,
}

/// One number made of a bucket's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
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
    fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }
}

/// Widths of buckets that fall on what a clock shows, in seconds.
const WIDTHS: [i64; 14] = [1, 2, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 10_800, 21_600, 86_400];

/// What a client asks of a series, `now`. Without `bucket`, the narrowest width that needs no more
/// than `max_points`.
fn request(uri: &Uri, now: Micros) -> Result<SeriesRequest, Problem> {
    let parameters = Parameters::of(uri);
    let required = |name: &'static str| parameters.one(name)?.ok_or_else(|| Problem::parameter(name, "is required"));
    let (device, metric) = (required("device")?.to_owned(), required("metric")?.to_owned());
    let to: Micros = parameters.parse("to")?.unwrap_or(now);
    let hour = Micros::saturating(to.get().saturating_sub(3_600_000_000));
    let from: Micros = parameters.parse("from")?.unwrap_or(hour);
    if from >= to {
        return Err(Problem::parameter("from", "expected a time before `to`"));
    }
    let most = parameters.points()?;
    let span = to.get().saturating_sub(from.get());
    let width = match parameters.one("bucket")? {
        Some(text) => width(text)?,
        None => narrowest(span, most),
    };
    if span / width >= i64::from(limits::MAXIMUM_SERIES_POINTS) {
        let most = limits::MAXIMUM_SERIES_POINTS;
        return Err(Problem::parameter("bucket", format_args!("expected at most {most} buckets from `from` to `to`")));
    }
    let query = SeriesQuery { device, path: path(&metric), from, to, width };
    Ok(SeriesRequest { query, metric, functions: functions(parameters.one("fn")?.unwrap_or("avg,min,max"))? })
}

/// A JSON pointer, or names and indexes joined by dots.
fn path(metric: &str) -> Vec<String> {
    match metric.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
        None => metric.split('.').map(str::to_owned).collect(),
    }
}

fn functions(text: &str) -> Result<Vec<Function>, Problem> {
    let one = |name: &str| FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function);
    let known: Option<Vec<_>> = text.split(',').map(one).collect();
    known.ok_or_else(|| Problem::parameter("fn", "expected some of avg, min, max, last, count, with commas between"))
}

/// `90s`, `1m`, `6h` or `1d`, in microseconds.
fn width(text: &str) -> Result<i64, Problem> {
    let parse = || {
        let unit = match text.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        let number: i64 = text.get(..text.len() - 1)?.parse().ok()?;
        number.checked_mul(unit * 1_000_000).filter(|width| *width > 0)
    };
    parse().ok_or_else(|| Problem::parameter("bucket", "expected a width such as 30s, 1m, 6h or 1d"))
}

fn narrowest(span: i64, most: u32) -> i64 {
    let fits = |width: &i64| span / (width * 1_000_000) < i64::from(most);
    let widest = 86_400 * (span / 86_400_000_000 / i64::from(most) + 1);
    WIDTHS.into_iter().find(fits).unwrap_or(widest) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<SeriesRequest, Problem> {
        request(&format!("/api/series?device=d&metric=a.b&{query}").parse().unwrap(), Micros::saturating(7_200_000_000))
    }

    #[test]
    fn the_last_hour_is_asked_for_in_buckets_that_fit_a_plot() {
        let request = ask("").unwrap();
        assert_eq!((request.query.from.get(), request.query.to.get()), (3_600_000_000, 7_200_000_000));
        assert_eq!((request.query.width, request.query.path), (10_000_000, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(ask("max_points=10").unwrap().query.width, 900_000_000);
        assert_eq!(ask("bucket=5m&fn=last,count").unwrap().query.width, 300_000_000);
        let years = ask("from=1900-01-01T00:00:00Z&max_points=100").unwrap().query;
        assert!((years.to.get() - years.from.get()) / years.width < 100);
        assert_eq!(path("/a~1b/0"), ["a/b", "0"]);
    }

    #[test]
    fn gaps_are_one_point_of_nulls() {
        let bucket = |start| Bucket {
            start: Micros::saturating(start),
            count: 1,
            average: 2.0,
            minimum: 2.0,
            maximum: 2.0,
            last: 2.0,
        };
        let points = points(&[bucket(0), bucket(10), bucket(50)], 10, &[Function::Average, Function::Count]);
        let values: Vec<_> = points.iter().map(|point| (point["avg"].clone(), point["count"].clone())).collect();
        assert_eq!(values[2], (Value::Null, Value::Null));
        assert_eq!((values.len(), &values[3]), (4, &(json!(2.0), json!(1))));
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
        assert!(request(&"/api/series?device=d".parse().unwrap(), Micros::default()).is_err());
    }
}
