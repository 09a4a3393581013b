//! What rules allow, against a definition of it that is slow and plain.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::types::{TopicFilter, TopicName};

const ALL: Actions = Actions { publish: true, subscribe: true, receive: true };
const PUBLISH: Actions = Actions { publish: true, subscribe: false, receive: false };
const SUBSCRIBE: Actions = Actions { publish: false, subscribe: true, receive: false };
const RECEIVE: Actions = Actions { publish: false, subscribe: false, receive: true };

fn rule(effect: Effect, actions: Actions, topic: &str) -> Rule {
    Rule { subject: Subject::Everybody, effect, actions, topic: topic.parse().unwrap(), refuse: None }
}

fn allow(actions: Actions, topic: &str) -> Rule {
    rule(Effect::Allow, actions, topic)
}

fn deny(actions: Actions, topic: &str) -> Rule {
    rule(Effect::Deny, actions, topic)
}

fn rules(rules: impl IntoIterator<Item = Rule>) -> Rules {
    Rules::new(&Policy { rules: rules.into_iter().collect(), ..Policy::default() })
}

const fn who<'a>(client_id: &'a str, user: Option<&'a str>) -> Who<'a> {
    Who { user, client_id, rights: None }
}

const SOMEBODY: Who<'static> = who("client", Some("user"));
const REFUSED: Grant = Grant::Refused(RefusedSubscribe::NotAuthorized);

#[test]
fn what_no_rule_allows_is_denied_and_a_denial_wins_in_any_order() {
    let written = [allow(PUBLISH, "a/#"), deny(PUBLISH, "a/secret/+"), allow(PUBLISH, "a/secret/key")];
    let mut backwards = written.to_vec();
    backwards.reverse();
    for rules in [rules(written), rules(backwards)] {
        for (topic, allowed) in
            [("a", true), ("a/b/c", true), ("b", false), ("a/secret", true), ("a/secret/key", false), ("$a", false)]
        {
            assert_eq!(rules.may_publish(SOMEBODY, topic), allowed, "{topic}");
        }
        assert!(!rules.may_receive(SOMEBODY, "a"), "publishing is not receiving");
    }
}

#[test]
fn subjects_are_everybody_anonymous_users_and_roles() {
    let for_whom = |subject, topic: &str| Rule { subject, ..allow(PUBLISH, topic) };
    let policy = Policy {
        rules: vec![
            for_whom(Subject::Everybody, "everybody"),
            for_whom(Subject::Anonymous, "anonymous"),
            for_whom(Subject::User("anna".into()), "anna"),
            for_whom(Subject::Role("operator".into()), "operator"),
            for_whom(Subject::Role("nobody's".into()), "everybody/else"),
        ],
        roles: [("operator".to_owned(), vec!["anna".to_owned(), "boris".to_owned()])].into(),
        ..Policy::default()
    };
    let rules = Rules::new(&policy);
    for (user, topics) in [
        (None, &["everybody", "anonymous"][..]),
        (Some("anna"), &["everybody", "anna", "operator"]),
        (Some("boris"), &["everybody", "operator"]),
        (Some("carla"), &["everybody"]),
    ] {
        for topic in ["everybody", "anonymous", "anna", "operator", "everybody/else"] {
            assert_eq!(rules.may_publish(who("c", user), topic), topics.contains(&topic), "{user:?} {topic}");
        }
    }
}

#[test]
fn no_name_widens_a_rule() {
    let rules = rules([allow(ALL, "devices/%c/#"), allow(ALL, "users/+/%u"), allow(ALL, "%c/#")]);
    assert!(rules.may_publish(who("pump", None), "devices/pump/a"));
    assert!(rules.may_publish(who("pump", Some("anna")), "users/x/anna"));
    assert!(!rules.may_publish(who("pump", None), "devices/valve/a"));
    assert_eq!(rules.grant(who("pump", None), "devices/pump/+/b", false), Grant::Whole);
    assert_eq!(rules.grant(who("pump", None), "devices/+/b", false), REFUSED);
    for client in ["+", "#", "a/b", "pump/+", "a/#", "/"] {
        for filter in ["devices/+/#", "devices/#", "devices/a/b/#", "devices/pump/x", "+/#", "#", "a/b/#"] {
            assert_eq!(rules.grant(who(client, None), filter, false), REFUSED, "{client} {filter}");
        }
        for topic in ["devices/a/b", "devices/pump/x", "a/b", "devices/+/x"] {
            assert!(!rules.may_receive(who(client, None), topic), "{client} {topic}");
        }
    }
    for user in ["+", "a/anna", "#"] {
        assert_eq!(rules.grant(who("x", Some(user)), "users/+/+", false), REFUSED, "{user}");
        assert!(!rules.may_publish(who("x", Some(user)), "users/a/anna"), "{user}");
    }
    // Nor does a name that begins as the broker's own topics do.
    assert_eq!(rules.grant(who("$SYS", None), "$SYS/#", false), REFUSED);
    assert!(!rules.may_receive(who("$SYS", None), "$SYS/broker/uptime"));
    assert!(rules.may_receive(who("$SYS", None), "devices/$SYS/uptime"));
}

#[test]
fn a_subscription_must_be_covered_by_one_rule() {
    let rules =
        rules([allow(SUBSCRIBE, "a/+/c"), allow(SUBSCRIBE, "b/#"), allow(SUBSCRIBE, "d"), allow(SUBSCRIBE, "d/+/#")]);
    for (filter, granted) in [
        ("a/x/c", true),
        ("a/+/c", true),
        ("a/#", false),
        ("a/+/+", false),
        ("+/x/c", false),
        ("b", true),
        ("b/#", true),
        ("b/+/x/#", true),
        ("d", true),
        ("d/#", false),
        ("#", false),
    ] {
        assert_eq!(rules.grant(SOMEBODY, filter, false), if granted { Grant::Whole } else { REFUSED }, "{filter}");
    }
    let everything = self::rules([allow(SUBSCRIBE, "+/#")]);
    assert_eq!(everything.grant(SOMEBODY, "#", false), Grant::Whole, "every topic has a level");
    assert_eq!(everything.grant(SOMEBODY, "$SYS/#", false), REFUSED);
}

#[test]
fn rules_say_what_a_refused_subscription_is_answered_with() {
    use RefusedSubscribe::{Failure, Filter, NotAuthorized};
    let answering = |rule: Rule, refuse| Rule { refuse: Some(refuse), ..rule };
    let rules = rules([
        answering(allow(SUBSCRIBE, "a/+/t"), Filter),
        answering(allow(SUBSCRIBE, "b/x"), Failure),
        allow(SUBSCRIBE, "c/#"),
        answering(deny(SUBSCRIBE, "c/secret"), Filter),
        allow(SUBSCRIBE, "d/#"),
        deny(RECEIVE, "d/secret"),
        answering(allow(SUBSCRIBE, "e/#"), Filter),
        answering(deny(SUBSCRIBE, "e/secret"), NotAuthorized),
    ]);
    for (filter, grant, shared) in [
        ("a/#", Grant::Filtered, REFUSED),
        ("b/#", Grant::Refused(Failure), Grant::Refused(Failure)),
        ("+/x", Grant::Refused(Failure), Grant::Refused(Failure)),
        ("c/#", Grant::Filtered, REFUSED),
        ("c/other/#", Grant::Whole, Grant::Whole),
        ("d/#", Grant::Filtered, REFUSED),
        ("e/#", REFUSED, REFUSED),
        ("x", REFUSED, REFUSED),
        ("#", REFUSED, REFUSED),
    ] {
        assert_eq!(rules.grant(SOMEBODY, filter, false), grant, "{filter}");
        assert_eq!(rules.grant(SOMEBODY, filter, true), shared, "shared {filter}");
    }
    assert!(!rules.may_receive(SOMEBODY, "c/secret") && !rules.may_receive(SOMEBODY, "d/secret"));
    let policy = Policy { refused_subscribe: Filter, ..Policy::default() };
    assert_eq!(Rules::new(&policy).grant(SOMEBODY, "x", false), Grant::Filtered, "the answer for all");
}

#[test]
fn mosquittos_file_is_read() {
    let text = "# anonymous clients\ntopic read $SYS/#\n\nuser anna b\n topic a/%c\ntopic write w/with space \n\
                topic deny a/secret\npattern readwrite devices/%c/#\npattern deny users/%u\n";
    let found = parse_acl_file(Path::new("acl"), text).unwrap();
    let rules = rules(found);
    let anna = who("c", Some("anna b"));
    for (client, topic, publish, receive) in [
        (who("c", None), "$SYS/x", false, true),
        (anna, "$SYS/x", false, false),
        (anna, "a/%c", true, true),
        (anna, "a/c", false, false),
        (anna, "w/with space", true, false),
        (anna, "a/secret", false, false),
        (who("c", None), "devices/c/x", true, true),
        (anna, "users/anna b", false, false),
    ] {
        let found = (rules.may_publish(client, topic), rules.may_receive(client, topic));
        assert_eq!(found, (publish, receive), "{client:?} {topic}");
    }
    assert_eq!(rules.grant(anna, "#", false), Grant::Filtered, "as mosquitto does");
    for (text, line, fault) in [
        ("topics a", 1, AclLineError::Word("topics".to_owned())),
        ("\ntopic all a", 2, AclLineError::Access("all".to_owned())),
        ("user", 1, AclLineError::Missing),
        ("pattern", 1, AclLineError::Missing),
        ("topic a\npattern a/x%c", 2, AclLineError::Topic(crate::types::RuleTopicError::NotAlone)),
    ] {
        let error = parse_acl_file(Path::new("acl"), text).unwrap_err();
        assert_eq!(error.to_string(), format!("acl:{line}: {fault}"), "{text}");
    }
}

#[test]
fn a_change_is_seen() {
    let control = AccessControl::default();
    let before = control.generation();
    assert!(before > 0 && control.may_publish(SOMEBODY, "a"));
    control.replace(Some(rules([])));
    assert_ne!(control.generation(), before);
    assert!(!control.may_publish(SOMEBODY, "a"));
}

/// Every topic of up to three of these levels.
fn topics() -> Vec<String> {
    let levels = ["", "a", "b", "$c", "pump"];
    let mut topics: Vec<String> = levels.map(str::to_owned).to_vec();
    for _ in 0..2 {
        let longer: Vec<_> = topics.iter().flat_map(|topic| levels.map(|level| format!("{topic}/{level}"))).collect();
        topics.extend(longer);
    }
    topics.sort();
    topics.dedup();
    topics.retain(|topic| TopicName::check(topic).is_ok());
    topics
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["", "a", "b", "$c", "+", "%c"]);
    (prop::collection::vec(level, 1..=3), any::<bool>())
        .prop_map(|(levels, multi)| if multi { format!("{}/#", levels.join("/")) } else { levels.join("/") })
        .prop_filter("a filter", |text| TopicFilter::check(text).is_ok())
}

proptest! {
    /// Against matching of each topic that there is.
    #[test]
    fn covering_and_overlapping_are_what_they_say(allowed in filter(), denied in filter(), asked in filter()) {
        let plain = |text: &str| text.replace("%c", "pump").parse::<TopicFilter>().unwrap();
        let (allowed_plain, denied_plain, asked) = (plain(&allowed), plain(&denied), plain(&asked));
        let rules = rules([allow(SUBSCRIBE, &allowed), deny(RECEIVE, &denied)]);
        let client = who("pump", None);
        let topics = topics();
        let wanted = || topics.iter().filter(|topic| asked.matches(topic));
        for topic in &topics {
            let right = allowed_plain.matches(topic) && !denied_plain.matches(topic);
            prop_assert_eq!(rules.may_receive(client, topic), right, "{}", topic);
        }
        let overlaps = wanted().any(|topic| denied_plain.matches(topic));
        // No topic of three levels tells `a/+/+/#` from `a/+/+` or nothing at all.
        let deep = |filter: &TopicFilter| filter.levels().count() > 3;
        if !deep(&allowed_plain) && !deep(&asked) && !deep(&denied_plain) {
            let grant = rules.grant(client, asked.as_str(), false);
            if wanted().any(|topic| !allowed_plain.matches(topic)) {
                prop_assert_eq!(grant, REFUSED);
            }
            if grant != REFUSED {
                prop_assert_eq!(grant == Grant::Filtered, overlaps);
            }
        }
    }
}
