//! What access rules cost: each topic asked about the first time, and subscriptions, of ten thousand rules.
//! What a connection asks again it remembers, so that the same topic costs a comparison. Figures:
//! docs/decisions/0011-access-rules.md.

#![expect(clippy::unwrap_used, reason = "a bench has no one to report to but its reader")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use synap_mqtt::auth::access::{Actions, Effect, Policy, Rule, Rules, Subject, Who};

const RULES: usize = 10_000;

fn rule(subject: Subject, effect: Effect, topic: &str) -> Rule {
    let actions = Actions { publish: true, subscribe: true, receive: true };
    Rule { subject, effect, actions, topic: topic.parse().unwrap(), refuse: None }
}

/// All for everybody; one in ten with `+`, one in ten with `#`, one in ten denies.
fn for_everybody() -> Rules {
    let rules = (0..RULES).map(|number| match number % 10 {
        0 => rule(Subject::Everybody, Effect::Allow, &format!("+/device-{number:05}/telemetry")),
        1 => rule(Subject::Everybody, Effect::Allow, &format!("devices/device-{number:05}/#")),
        2 => rule(Subject::Everybody, Effect::Deny, &format!("devices/device-{number:05}/telemetry")),
        _ => rule(Subject::Everybody, Effect::Allow, &format!("devices/device-{number:05}/telemetry")),
    });
    Rules::new(&Policy { rules: rules.collect(), ..Policy::default() })
}

/// One for each of ten thousand accounts, and one with `%c` for everybody.
fn for_users() -> Rules {
    let of_user = |number| {
        let user = Subject::User(format!("device-{number:05}").into());
        rule(user, Effect::Allow, &format!("devices/device-{number:05}/#"))
    };
    let common = rule(Subject::Everybody, Effect::Allow, "clients/%c/#");
    Rules::new(&Policy { rules: (0..RULES).map(of_user).chain([common]).collect(), ..Policy::default() })
}

fn access(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10,000 access rules");
    // A prime stride, so that no topic is near the one before it.
    let numbers = || (0..RULES).map(|number| number * 7_919 % RULES);
    let topics: Vec<_> = numbers().map(|number| format!("devices/device-{number:05}/telemetry")).collect();
    let users: Vec<_> = numbers().map(|number| format!("device-{number:05}")).collect();
    for (name, rules) in [("for everybody", for_everybody()), ("of 10,000 users", for_users())] {
        let mut next = topics.iter().zip(&users).cycle();
        group.bench_function(format!("publish to a fresh topic, {name}"), |bencher| {
            bencher.iter(|| {
                let (topic, user) = next.next().unwrap();
                black_box(rules.may_publish(Who { user: Some(user), client_id: user, rights: None }, topic))
            });
        });
        for filter in ["devices/device-04711/telemetry", "devices/+/telemetry", "#"] {
            group.bench_function(format!("subscribe to {filter}, {name}"), |bencher| {
                let who = Who { user: Some("device-04711"), client_id: "device-04711", rights: None };
                bencher.iter(|| black_box(rules.grant(who, filter, false)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, access);
criterion_main!(benches);
