//! Route definitions, compiled: which rule a topic falls under, and what the topic alone says
//! of an event.

use super::{
    decode::Decoder,
    dedupe::{Dedupe, Names},
    event_time::Pointer,
    measure::Selection,
    pattern::{Parts, Pattern, Template, join},
    schema::Schema,
    time_window::TimeWindow,
};
use crate::types::{Kept, Reliability, TopicError, TopicFilter};

/// Subject type of devices. A subject of this type has its name in the event's `device`.
pub const DEVICE: &str = "device";

/// Subject type of the built-in last rule, where the topic itself is the subject.
pub const TOPIC: &str = "topic";

/// Longest event type, in characters; from the SynapEvent contract.
const MAXIMUM_TYPE_CHARS: usize = 128;

/// How publications become events, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A topic filter with named parts: `devices/{device}/telemetry`.
    pub topic: String,
    /// The event's type.
    pub event_type: String,
    /// The subject's name, made of named parts and fixed text: `{device}`. Where none is given
    /// it is the part called `device`, or the whole topic.
    pub subject: Option<String>,
    /// The kind of subject.
    pub subject_type: String,
    /// JSON pointer to the event's own time, for instance `/time`.
    pub timestamp: Option<String>,
    /// How far that time may be from the time of receipt.
    pub time_window: TimeWindow,
    /// The format of payloads.
    pub decoder: Decoder,
    /// Whether a payload that is not in its format is a dead letter; else it is kept as it is.
    pub strict: bool,
    /// What tells that a message was sent again.
    pub dedupe: Option<Dedupe>,
    /// The text of a JSON Schema that payloads must satisfy; what does not is a dead letter.
    pub schema: Option<String>,
    /// What the database keeps.
    pub kept: Kept,
    /// JSON pointers to the numbers that are measurements, `*` for any one level; all, where there
    /// is none.
    pub metrics: Vec<String>,
    /// Whether true and false are measurements, as 1 and 0.
    pub measure_booleans: bool,
    /// What QoS 0 publications are raised to.
    pub reliability: Reliability,
    /// Whether its events are shown to browsers.
    pub stream: bool,
}

impl Route {
    /// A route for devices that asks for nothing else.
    #[must_use]
    pub fn new(topic: &str, event_type: &str) -> Self {
        Self {
            topic: topic.into(),
            event_type: event_type.into(),
            subject: None,
            subject_type: DEVICE.into(),
            timestamp: None,
            time_window: TimeWindow::default(),
            decoder: Decoder::Auto,
            strict: false,
            schema: None,
            dedupe: None,
            kept: Kept::Event,
            metrics: Vec::new(),
            measure_booleans: false,
            reliability: Reliability::BestEffort,
            stream: true,
        }
    }
}

/// A route that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {topic:?}: {problem}")]
pub struct RouteError {
    /// Place in the list, from 0.
    pub index: usize,
    /// The pattern of that route.
    pub topic: String,
    /// What is wrong.
    pub problem: RouteProblem,
}

/// What is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// The pattern is no topic filter once its names are taken for `+`.
    #[error("topic: {0}")]
    Topic(#[from] TopicError),
    /// Names stand in braces, fill a level, are of letters, digits, `_` and `-`, and differ.
    #[error(
        "topic: {0:?} is not the name of a part; a part fills a whole level, like {{device}}, and has a name of its own"
    )]
    PartName(String),
    /// The subject refers to a part that the pattern does not have.
    #[error("subject: the topic has no part named {0:?}")]
    UnknownPart(String),
    /// A subject without a name.
    #[error("subject: must not be empty")]
    EmptySubject,
    /// A device's name must be part of the topic, so that `device=` means the same everywhere.
    #[error(
        "subject: a device is named by one part of the topic or by a fixed text; give another subject_type for a mixture"
    )]
    MixedDevice,
    /// See the SynapEvent contract.
    #[error("type: must have 1 to {MAXIMUM_TYPE_CHARS} characters, like devices.telemetry.received")]
    EventType,
    /// A subject type without a name.
    #[error("subject_type: must not be empty")]
    SubjectType,
    /// RFC 6901
    #[error("timestamp: expected a JSON pointer such as /time")]
    Timestamp,
    /// RFC 6901
    #[error("dedupe: expected a JSON pointer such as /messageId")]
    Dedupe,
    /// Not a JSON Schema, or one that refers to others.
    #[error("schema: {0}")]
    Schema(String),
    /// RFC 6901, with wildcards
    #[error("metrics: expected JSON pointers such as /temperature or /sensors/*/value, not {0:?}")]
    Metric(String),
}

/// One compiled route.
#[derive(Debug)]
pub struct Rule {
    pattern: Pattern,
    subject: Template,
    pub event_type: Box<str>,
    pub subject_type: Box<str>,
    pub timestamp: Option<Pointer>,
    pub time_window: TimeWindow,
    pub decoder: Decoder,
    pub strict: bool,
    pub schema: Option<Schema>,
    pub names: Option<Names>,
    pub kept: Kept,
    pub metrics: Selection,
    pub reliability: Reliability,
    pub stream: bool,
}

/// The subject of an event, named.
pub enum Subject<'a> {
    /// Text of the topic or of the rule.
    Borrowed(&'a str),
    /// A mixture of both.
    Mixed(String),
}

impl Subject<'_> {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Borrowed(name) => name,
            Self::Mixed(name) => name,
        }
    }
}

impl Rule {
    fn compile(route: &Route) -> Result<Self, RouteProblem> {
        let pattern = Pattern::parse(&route.topic)?;
        let subject = match &route.subject {
            Some(template) => Template::parse(template, &pattern)?,
            None => pattern.part(DEVICE).map_or(Template::Topic, Template::Part),
        };
        if route.subject_type == DEVICE && matches!(subject, Template::Pieces(_)) {
            return Err(RouteProblem::MixedDevice);
        }
        if !(1..=MAXIMUM_TYPE_CHARS).contains(&route.event_type.chars().count()) || route.event_type.contains('\0') {
            return Err(RouteProblem::EventType);
        }
        if route.subject_type.is_empty() || route.subject_type.contains('\0') {
            return Err(RouteProblem::SubjectType);
        }
        let names = |dedupe: &Dedupe| Names::compile(dedupe).ok_or(RouteProblem::Dedupe);
        let pointer = |text: &String| Pointer::parse(text).ok_or(RouteProblem::Timestamp);
        Ok(Self {
            pattern,
            subject,
            event_type: route.event_type.as_str().into(),
            subject_type: route.subject_type.as_str().into(),
            timestamp: route.timestamp.as_ref().map(pointer).transpose()?,
            time_window: route.time_window,
            decoder: route.decoder,
            strict: route.strict,
            names: route.dedupe.as_ref().map(names).transpose()?,
            schema: route.schema.as_deref().map(Schema::parse).transpose().map_err(RouteProblem::Schema)?,
            kept: route.kept,
            metrics: Selection::parse(&route.metrics, route.measure_booleans).map_err(RouteProblem::Metric)?,
            reliability: route.reliability,
            stream: route.stream,
        })
    }

    fn subject<'a>(&'a self, topic: &'a str, parts: &Parts<'a>) -> Subject<'a> {
        match &self.subject {
            Template::Topic => Subject::Borrowed(topic),
            Template::Part(part) => Subject::Borrowed(parts.get(*part).copied().unwrap_or_default()),
            Template::Text(text) => Subject::Borrowed(text),
            Template::Pieces(pieces) => Subject::Mixed(join(pieces, parts)),
        }
    }

    /// What matches every topic by which this names the device; none where it never does.
    fn topics_of(&self, device: &str) -> Option<TopicFilter> {
        if &*self.subject_type != DEVICE {
            return None;
        }
        match &self.subject {
            Template::Part(part) => self.pattern.filter_with(*part, device),
            Template::Text(text) if **text == *device => self.pattern.filter(),
            Template::Topic if self.pattern.parts(device).is_some() => device.parse().ok(),
            Template::Topic | Template::Text(_) | Template::Pieces(_) => None,
        }
    }
}

/// All rules in order, the built-in ones last. Total: every topic falls under one of them.
#[derive(Debug)]
pub struct RouteTable {
    rules: Vec<Rule>,
    last: Rule,
    any_guaranteed: bool,
}

impl RouteTable {
    /// Compiles routes; the first that matches a topic wins.
    ///
    /// # Errors
    /// [`RouteError`], of the first route that cannot be compiled.
    pub fn compile(routes: &[Route]) -> Result<Self, RouteError> {
        let mut rules = Vec::with_capacity(routes.len() + 2);
        for (index, route) in routes.iter().chain(&built_in()).enumerate() {
            let error = |problem| RouteError { index, topic: route.topic.clone(), problem };
            rules.push(Rule::compile(route).map_err(error)?);
        }
        let any_guaranteed = rules.iter().any(|rule| rule.reliability > Reliability::BestEffort);
        Ok(Self { rules, last: last_rule(), any_guaranteed })
    }

    /// The rule that a topic falls under, and its subject.
    pub fn resolve<'a>(&'a self, topic: &'a str) -> (&'a Rule, Subject<'a>) {
        let matching = |rule: &'a Rule| rule.pattern.parts(topic).map(|parts| (rule, rule.subject(topic, &parts)));
        self.rules.iter().find_map(matching).unwrap_or((&self.last, Subject::Borrowed(topic)))
    }

    /// What matches every topic by which a rule names the device.
    pub fn topics_of(&self, device: &str) -> Vec<TopicFilter> {
        self.rules.iter().filter_map(|rule| rule.topics_of(device)).collect()
    }

    /// Whether a QoS 0 publication to this topic must be on disk before it is passed on.
    pub fn guarantees(&self, topic: &str) -> bool {
        self.any_guaranteed
            && self
                .rules
                .iter()
                .find(|rule| rule.pattern.parts(topic).is_some())
                .is_some_and(|rule| rule.reliability > Reliability::BestEffort)
    }
}

/// What a default install understands: a device's telemetry, and a device's other messages.
pub fn built_in() -> Vec<Route> {
    vec![
        Route::new("devices/{device}/telemetry", "devices.telemetry.received"),
        Route::new("devices/{device}/#", "devices.message.received"),
    ]
}

/// What no other rule matches, `$` topics included, which `#` would leave out.
fn last_rule() -> Rule {
    Rule {
        pattern: Pattern::everything(),
        subject: Template::Topic,
        event_type: "mqtt.message.received".into(),
        subject_type: TOPIC.into(),
        timestamp: None,
        time_window: TimeWindow::default(),
        decoder: Decoder::Auto,
        strict: false,
        schema: None,
        names: None,
        kept: Kept::Event,
        metrics: Selection::default(),
        reliability: Reliability::BestEffort,
        stream: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(topic: &str) -> Route {
        Route { topic: topic.into(), subject_type: "room".into(), ..built_in()[0].clone() }
    }

    fn resolved(table: &RouteTable, topic: &str) -> (String, String, String) {
        let (rule, subject) = table.resolve(topic);
        (rule.event_type.to_string(), rule.subject_type.to_string(), subject.name().to_owned())
    }

    #[test]
    fn a_default_install_shows_everything() {
        let table = RouteTable::compile(&[]).unwrap();
        for (topic, event_type, subject_type, subject) in [
            ("devices/pump-7/telemetry", "devices.telemetry.received", "device", "pump-7"),
            ("devices/pump-7/alarm/high", "devices.message.received", "device", "pump-7"),
            ("devices/pump-7", "devices.message.received", "device", "pump-7"),
            ("devices//telemetry", "mqtt.message.received", "topic", "devices//telemetry"),
            ("home/light", "mqtt.message.received", "topic", "home/light"),
            ("$SYS/x", "mqtt.message.received", "topic", "$SYS/x"),
        ] {
            let expected = (event_type.into(), subject_type.into(), subject.into());
            assert_eq!(resolved(&table, topic), expected, "{topic}");
            assert!(!table.guarantees(topic));
        }
    }

    #[test]
    fn the_first_match_wins() {
        let first = Route { subject: Some("{site}/{room}".into()), ..route("{site}/rooms/{room}/#") };
        let second = Route { event_type: "b".into(), reliability: Reliability::Guaranteed, ..route("+/rooms/#") };
        let table = RouteTable::compile(&[first, second]).unwrap();
        assert_eq!(resolved(&table, "hq/rooms/4/co2").2, "hq/4");
        assert_eq!(resolved(&table, "hq/rooms").0, "b");
        assert!(table.guarantees("hq/rooms"));
        assert!(!table.guarantees("hq/rooms/4/co2"));
    }

    #[test]
    fn all_topics_that_may_name_a_device_are_known() {
        let named = Route { subject_type: DEVICE.into(), ..route("{site}/rooms/{device}") };
        let fixed = Route { subject: Some("boiler".into()), subject_type: DEVICE.into(), ..route("heat/{n}/+") };
        let whole = Route { subject_type: DEVICE.into(), ..route("bare/+") };
        let table = RouteTable::compile(&[named, fixed, whole, route("devices/{device}/x")]).unwrap();
        let topics = |device: &str| -> Vec<String> {
            table.topics_of(device).iter().map(|filter| filter.as_str().to_owned()).collect()
        };
        let built_in = ["devices/pump/telemetry", "devices/pump/#"];
        assert_eq!(topics("pump"), [&["+/rooms/pump"][..], &built_in].concat());
        assert_eq!(topics("boiler")[1], "heat/+/+");
        assert_eq!(topics("bare/1"), ["bare/1"]);
        assert_eq!(topics("a/b"), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_compiled_is_named() {
        let problem = |route: Route| RouteTable::compile(&[built_in()[0].clone(), route]).unwrap_err();
        let error = problem(Route { event_type: "x".repeat(129), ..route("a") });
        assert_eq!((error.index, error.topic.as_str(), error.problem), (1, "a", RouteProblem::EventType));
        let mixed = Route { subject: Some("{a}-{b}".into()), subject_type: DEVICE.into(), ..route("{a}/{b}") };
        assert_eq!(problem(mixed).problem, RouteProblem::MixedDevice);
        assert_eq!(problem(Route { timestamp: Some("time".into()), ..route("a") }).problem, RouteProblem::Timestamp);
        assert_eq!(problem(Route { subject_type: String::new(), ..route("a") }).problem, RouteProblem::SubjectType);
    }
}
