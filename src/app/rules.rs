//! The access rules of the configuration, of the file that it names and of devices, as the broker takes them.

use std::path::PathBuf;

use crate::{
    auth::access::{
        AclFileError, Actions, Effect, Policy, RefusedPublish, RefusedSubscribe, Rule, Rules, Subject, read_acl_file,
    },
    config::{Action, AuthSettings, PublishAnswer, RuleSettings, SubscribeAnswer},
    provisioning::Registry,
};

/// Reads the files, where there are any; no rules where nobody has written any, and devices do not come in.
///
/// # Errors
/// When a file cannot be read, or has a fault.
pub fn read(settings: &AuthSettings, devices: Option<&Registry>) -> Result<Option<Rules>, AclFileError> {
    let of_devices = devices.map(|devices| read_acl_file(&devices.acl())).transpose()?;
    let from_file = settings.acl_file.as_deref().map(read_acl_file).transpose()?;
    if of_devices.is_none() && from_file.is_none() && settings.rules.is_empty() {
        return Ok(None);
    }
    let from_files = from_file.into_iter().chain(of_devices).flatten();
    let written = settings.rules.iter().flat_map(rules_of);
    let policy = Policy {
        rules: written.chain(from_files).collect(),
        roles: settings.roles.clone(),
        refused_subscribe: answer(settings.refused_subscribe),
        refused_publish: match settings.refused_publish {
            PublishAnswer::Acknowledge => RefusedPublish::Acknowledge,
            PublishAnswer::Disconnect => RefusedPublish::Disconnect,
        },
    };
    Ok(Some(Rules::new(&policy)))
}

/// The files that [`read`] reads.
pub fn files(settings: &AuthSettings, devices: Option<&Registry>) -> Vec<PathBuf> {
    settings.acl_file.iter().cloned().chain(devices.map(Registry::acl)).collect()
}

/// A rule for each subject and topic that one in the configuration names.
fn rules_of(settings: &RuleSettings) -> Vec<Rule> {
    let (effect, actions) =
        if settings.deny.is_empty() { (Effect::Allow, &settings.allow) } else { (Effect::Deny, &settings.deny) };
    let has = |action| actions.contains(&action);
    let actions =
        Actions { publish: has(Action::Publish), subscribe: has(Action::Subscribe), receive: has(Action::Receive) };
    let users = settings.users.iter().map(|user| Subject::User(user.as_str().into()));
    let roles = settings.roles.iter().map(|role| Subject::Role(role.as_str().into()));
    let mut subjects: Vec<_> = users.chain(roles).chain(settings.anonymous.then_some(Subject::Anonymous)).collect();
    if subjects.is_empty() {
        subjects.push(Subject::Everybody);
    }
    let refuse = settings.refused_subscribe.map(answer);
    let of_subject = |subject: Subject| {
        let rule = move |topic| Rule { subject: subject.clone(), effect, actions, topic, refuse };
        settings.topics.iter().map(|topic| topic.0.clone()).map(rule)
    };
    subjects.into_iter().flat_map(of_subject).collect()
}

const fn answer(answer: SubscribeAnswer) -> RefusedSubscribe {
    match answer {
        SubscribeAnswer::NotAuthorized => RefusedSubscribe::NotAuthorized,
        SubscribeAnswer::Failure => RefusedSubscribe::Failure,
        SubscribeAnswer::Filter => RefusedSubscribe::Filter,
    }
}
