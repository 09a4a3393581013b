//! One metric over time, from the journal. Waits for the disk at most.

use super::{HistoryError, forwards};
use crate::{
    journal::{Journal, Record},
    limits,
    stream::source::{Next, Source},
    types::{Bucket, EventMapper, JsonText, SeriesBuilder, SeriesQuery},
};

/// The buckets that have a value, by time.
pub async fn buckets(
    journal: &Journal,
    mapper: &dyn EventMapper,
    query: &SeriesQuery,
) -> Result<Vec<Bucket>, HistoryError> {
    let start = forwards::position_of(journal, query.from).await?;
    let mut source = Source::new(journal, start);
    let (mut builder, mut left) = (SeriesBuilder::new(query.width), limits::SERIES_SCAN_RECORDS);
    loop {
        let slice = match source.advance().await? {
            Next::Records(slice) => slice,
            Next::Lost(_) => continue,
            Next::CaughtUp => return Ok(builder.finish()),
        };
        for record in slice.records() {
            let Record::Publication { publication, .. } = record else { continue };
            left = left.checked_sub(1).ok_or(HistoryError::TooMuch)?;
            if !mapper.names_device(publication.topic) {
                continue;
            }
            let event = mapper.map(&publication);
            if event.device == Some(query.device.as_str())
                && (query.from..query.to).contains(&event.timestamp)
                && let Some(value) = number_at(&event.data, &query.path)
            {
                builder.push(event.timestamp, value);
            }
        }
        // A query is long where others on this thread want to be quick.
        tokio::task::yield_now().await;
    }
}

/// The number at a path of names and indexes.
fn number_at(json: &str, path: &[String]) -> Option<f64> {
    let number =
        JsonText::at(json, path).filter(|scalar| scalar.starts_with(|c: char| c == '-' || c.is_ascii_digit()))?;
    number.parse().ok().filter(|number: &f64| number.abs() < limits::MEASUREMENT_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_float_can_hold_hides_no_number_beside_it() {
        let json = r#"{"big":1e400,"half":"\ud800","t":[{"x":2.5},1e299,1e301],"text":"7"}"#;
        let at = |path: &str| number_at(json, &path.split('.').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!((at("t.0.x"), at("t.1")), (Some(2.5), Some(1e299)));
        for none in ["big", "half", "t", "t.2", "t.3", "t.0", "text", "text.0", "nothing"] {
            assert_eq!(at(none), None, "{none}");
        }
    }
}
