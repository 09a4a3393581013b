//! Which events a client asked for, of those that it may see.

use super::shown::{Device, Shown};
use crate::types::{TopicFilter, Topics, subject_id};

/// Within one kind any value may match; every kind that is given must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Topic filters.
    pub topics: Vec<TopicFilter>,
    /// Event types, exactly.
    pub types: Vec<String>,
    /// Device names, exactly.
    pub devices: Vec<DeviceName>,
    /// What the client may see at all, whatever it asks for.
    pub within: Topics,
}

/// A device's name, with the stable id by which other writers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    name: String,
    subject: String,
}

impl From<String> for DeviceName {
    fn from(name: String) -> Self {
        Self { subject: subject_id(&name).to_string(), name }
    }
}

impl From<&str> for DeviceName {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

impl DeviceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    fn is(&self, device: Device<&str>) -> bool {
        match device {
            Device::Name(name) => self.name == name,
            Device::Subject(id) => self.subject == id,
        }
    }
}

impl Filter {
    /// Whether it asks for everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.types.is_empty() && self.devices.is_empty()
    }

    /// Whether it leaves nothing out.
    pub(super) const fn is_open(&self) -> bool {
        self.is_empty() && self.within.is_all()
    }

    /// What asks for the values of both, and may see what this may.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            topics: with(&self.topics, &other.topics),
            types: with(&self.types, &other.types),
            devices: with(&self.devices, &other.devices),
            within: self.within.clone(),
        }
    }

    /// What asks for the values that `other` has not, and may see what this may.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            topics: without(&self.topics, &other.topics),
            types: without(&self.types, &other.types),
            devices: without(&self.devices, &other.devices),
            within: self.within.clone(),
        }
    }

    /// Whether events of this topic may match: what can be told before a record is mapped. Where
    /// topics are asked for, an event without one does not.
    pub(super) fn matches_topic(&self, topic: Option<&str>) -> bool {
        (self.topics.is_empty() || topic.is_some_and(|topic| self.topics.iter().any(|filter| filter.matches(topic))))
            && self.within.have(topic)
    }

    /// Whether the client wants the event.
    pub(super) fn matches(&self, topic: Option<&str>, event_type: &str, device: Option<Device<&str>>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == event_type))
            && (self.devices.is_empty()
                || device.is_some_and(|device| self.devices.iter().any(|wanted| wanted.is(device))))
            && self.matches_topic(topic)
    }

    /// As [`Filter::matches`].
    pub(super) fn matches_event(&self, event: &Shown<'_>) -> bool {
        self.matches(event.topic(), event.event_type(), event.device())
    }
}

fn with<T: Clone + PartialEq>(values: &[T], more: &[T]) -> Vec<T> {
    let mut sum = values.to_vec();
    for value in more {
        if !sum.contains(value) {
            sum.push(value.clone());
        }
    }
    sum
}

fn without<T: Clone + PartialEq>(values: &[T], fewer: &[T]) -> Vec<T> {
    values.iter().filter(|value| !fewer.contains(value)).cloned().collect()
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
            within: Topics::All,
        };
        let (pump, fan) = (Some(Device::Name("pump")), Some(Device::Name("fan")));
        assert!(filter.matches(Some("a/1"), "t.one", pump));
        assert!(filter.matches(Some("b/1/2"), "t.two", pump));
        assert!(!filter.matches(Some("c"), "t.one", pump));
        assert!(!filter.matches(None, "t.one", pump));
        assert!(!filter.matches(Some("a/1"), "t.three", pump));
        assert!(!filter.matches(Some("a/1"), "t.one", fan));
        assert!(!filter.matches(Some("a/1"), "t.one", None));
        assert!(Filter::default().matches(Some("anything"), "t", None));
        assert!(Filter::default().matches(None, "t", None));
    }

    #[test]
    fn values_come_and_go() {
        let of = |topics: &[&str], types: &[&str]| Filter {
            topics: topics.iter().map(|topic| topic.parse().unwrap()).collect(),
            types: types.iter().map(|&name| name.to_owned()).collect(),
            ..Filter::default()
        };
        let both = of(&["a", "b"], &[]).with(&of(&["b", "c"], &["t"]));
        assert_eq!(both, of(&["a", "b", "c"], &["t"]));
        assert_eq!(both.without(&of(&["b", "x"], &["t"])), of(&["a", "c"], &[]));
    }

    #[test]
    fn nobody_sees_more_by_asking_for_it() {
        let within: Topics = ["a/+".parse().unwrap()].into_iter().collect();
        let everything = Filter { within: within.clone(), ..Filter::default() };
        assert!(everything.matches(Some("a/1"), "t", None) && !everything.is_open());
        assert!(!everything.matches(Some("b"), "t", None) && !everything.matches(None, "t", None));
        let wide = Filter { topics: vec!["#".parse().unwrap()], ..Filter::default() };
        for filter in [everything.with(&wide), everything.with(&wide).without(&wide)] {
            assert_eq!(filter.within, within);
            assert!(!filter.matches(Some("b"), "t", None));
        }
    }

    #[test]
    fn a_device_is_known_by_its_name_and_by_its_stable_id() {
        let filter = Filter { devices: vec!["pump".into()], ..Filter::default() };
        let (pump, fan) = (subject_id("pump").to_string(), subject_id("fan").to_string());
        assert!(filter.matches(None, "t", Some(Device::Subject(&pump))));
        assert!(!filter.matches(None, "t", Some(Device::Subject(&fan))));
        assert!(!filter.matches(None, "t", Some(Device::Name(&pump))));
    }
}
