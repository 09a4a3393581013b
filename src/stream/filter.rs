//! Which events a client asked for.

use crate::types::{SynapEvent, TopicFilter};

/// Within one kind any value may match; every kind that is given must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Topic filters.
    pub topics: Vec<TopicFilter>,
    /// Event types, exactly.
    pub types: Vec<String>,
    /// Device names, exactly.
    pub devices: Vec<String>,
}

impl Filter {
    /// Whether it asks for everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.types.is_empty() && self.devices.is_empty()
    }

    /// Whether events of this topic may match: what can be told before a record is mapped.
    #[must_use]
    pub fn matches_topic(&self, topic: &str) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|filter| filter.matches(topic))
    }

    /// Whether the client wants the event.
    #[must_use]
    pub fn matches(&self, topic: &str, event_type: &str, device: Option<&str>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == event_type))
            && (self.devices.is_empty() || self.devices.iter().any(|wanted| Some(wanted.as_str()) == device))
            && self.matches_topic(topic)
    }

    /// As [`Filter::matches`].
    #[must_use]
    pub fn matches_event(&self, event: &SynapEvent<'_>) -> bool {
        self.matches(event.topic, &event.event_type, event.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_of_a_kind_and_every_kind() {
        let filter = Filter {
            topics: vec!["a/+".parse().unwrap(), "b/#".parse().unwrap()],
            types: vec!["t.one".into(), "t.two".into()],
            devices: vec!["pump".into()],
        };
        assert!(filter.matches("a/1", "t.one", Some("pump")));
        assert!(filter.matches("b/1/2", "t.two", Some("pump")));
        assert!(!filter.matches("c", "t.one", Some("pump")));
        assert!(!filter.matches("a/1", "t.three", Some("pump")));
        assert!(!filter.matches("a/1", "t.one", Some("fan")));
        assert!(!filter.matches("a/1", "t.one", None));
        assert!(Filter::default().matches("anything", "t", None));
    }
}
