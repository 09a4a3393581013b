//! The JSON Schema that a route's payloads must satisfy.
//!
//! References lead nowhere outside of the schema, and its patterns are matched in linear time: a
//! device chooses the text that they see.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::limits;

/// A schema, compiled.
#[derive(Debug)]
pub struct Schema(Validator);

impl Schema {
    /// Reads a schema, of the draft that its `$schema` names; without one, 2020-12. The error says
    /// what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex()).offline();
        options.build(&schema).map(Self).map_err(|error| error.to_string())
    }

    /// Why a payload does not satisfy it; none where it does. A payload that is no JSON cannot.
    pub fn fault(&self, json: Option<&str>) -> Option<String> {
        let Some(json) = json else { return Some("schema: the payload is not JSON".to_owned()) };
        let value: Value = match serde_json::from_str(json) {
            Ok(value) => value,
            Err(error) => return Some(format!("schema: the payload cannot be checked: {error}")),
        };
        let error = self.0.validate(&value).err()?;
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the payload" } else { &place };
        // The value itself is in the event; it may be long.
        Some(format!("schema: {place}: {}", error.masked()).chars().take(limits::MAXIMUM_REASON_CHARS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_does_not_satisfy_it_is_told_where() {
        let schema = Schema::parse(
            r##"{"type":"object","required":["t"],"properties":{"t":{"$ref":"#/$defs/t"}},"$defs":{"t":{"type":"number","maximum":99}}}"##,
        )
        .unwrap();
        assert_eq!(schema.fault(Some("{\"t\":21.5,\"other\":null}")), None);
        for (json, part) in [
            (Some("{\"t\":100}"), "schema: /t: "),
            (Some("{}"), "schema: the payload: \"t\" is a required property"),
            (Some("{\"t\":9e999}"), "cannot be checked"),
            (None, "schema: the payload is not JSON"),
        ] {
            let fault = schema.fault(json).unwrap();
            assert!(fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn a_schema_leads_nowhere_outside_of_itself() {
        for text in [
            "{",
            "{\"type\":\"nonsense\"}",
            "{\"$ref\":\"https://example.org/s.json\"}",
            "{\"$ref\":\"file:///etc/s.json\"}",
        ] {
            assert!(Schema::parse(text).is_err(), "{text}");
        }
    }
}
