//! `GET /api/series`: one metric over time.
//!
//! `request` is what is asked, `points` the answer's curve.

mod points;
mod request;

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, Uri},
};
use serde_json::{Map, Value, json};

use self::{
    points::{Point, points},
    request::{Function, SeriesRequest},
};
use super::{caller, devices::may_see, problem::Problem, routes::Context};
use crate::{
    auth::web::Caller,
    types::{Bucket, Micros, Scope, SeriesQuery},
};

/// Rollups have nothing narrower, in microseconds.
const MINUTE: i64 = 60_000_000;

/// `GET /api/series`
pub async fn series(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let visible = caller::topics(&caller, Scope::EventsRead)?;
    let SeriesRequest { mut query, metric, functions, most, is_width_open } = request::parse(&uri, now())?;
    if !may_see(&context, &visible, &query.device) {
        let detail = format!("nothing is known of a device {:?}, or you may not see it", query.device);
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let mut buckets = context.services.events.series(query.clone()).await?;
    if buckets.is_empty() && is_width_open && query.width < MINUTE {
        // Where only rollups are left.
        query = SeriesQuery { width: MINUTE, ..query };
        buckets = context.services.events.series(query.clone()).await?;
    }
    let extent = |bucket: &Bucket| request::extent(&functions, bucket);
    let (points, is_thinned) = points(&buckets, query.width, most, extent);
    Ok(Json(json!({
        "device": query.device,
        "metric": metric,
        "from": query.from,
        "to": query.to,
        "bucketSeconds": query.width / 1_000_000,
        "thinned": is_thinned,
        "points": points.iter().map(|point| written(point, &functions)).collect::<Vec<_>>(),
    })))
}

fn now() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros::saturating(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn written(point: &Point<'_>, functions: &[Function]) -> Value {
    let (time, bucket) = match point {
        Point::Values(bucket) => (bucket.start, Some(bucket)),
        Point::Gap(time) => (*time, None),
    };
    let mut written = Map::new();
    written.insert("time".to_owned(), json!(time));
    let value = |function: &Function| bucket.map_or(Value::Null, |bucket| function.of(bucket));
    written.extend(functions.iter().map(|function| (function.name().to_owned(), value(function))));
    Value::Object(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_point_of_nulls() {
        let bucket = Bucket { start: Micros::default(), count: 1, average: 2.0, minimum: 1.0, maximum: 3.0, last: 2.5 };
        let all = request::functions("avg,min,max,last,count").unwrap();
        let values = json!({"time": Micros::default(), "avg": 2.0, "min": 1.0, "max": 3.0, "last": 2.5, "count": 1});
        assert_eq!(written(&Point::Values(&bucket), &all), values);
        let nothing = json!({"time": Micros::default(), "avg": null, "count": null});
        assert_eq!(written(&Point::Gap(Micros::default()), &request::functions("avg,count").unwrap()), nothing);
    }
}
