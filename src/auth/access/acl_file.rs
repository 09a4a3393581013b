//! mosquitto's `acl_file`, as mosquitto.conf(5) describes it.
//!
//! Lines of `topic [read|write|readwrite|deny] <topic>`, for the user of the last `user <name>` line,
//! or in front of any for clients without a user; `pattern` likewise, for everybody, with `%c` and `%u`.
//! Where mosquitto would grant every SUBSCRIBE and look at the messages, a SUBSCRIBE that has
//! something to do with a rule is granted and its messages are looked at; any other is refused. What
//! else differs is in docs/access.md.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Actions, Effect, RefusedSubscribe, Rule, Subject};
use crate::types::{RuleTopic, RuleTopicError};

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum AclFileError {
    /// The file cannot be read.
    #[error("{}: cannot read the access rules: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A line is no rule.
    #[error("{}:{line}: {fault}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: AclLineError,
    },
}

/// Why a line is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclLineError {
    /// Another first word.
    #[error("`{0}`: expected topic, user or pattern")]
    Word(String),
    /// Another word in front of the topic.
    #[error("`{0}`: expected read, write, readwrite or deny in front of the topic")]
    Access(String),
    /// Nothing behind the first word.
    #[error("the name or topic is missing")]
    Missing,
    /// The topic.
    #[error(transparent)]
    Topic(#[from] RuleTopicError),
}

/// Reads a file, all of whose lines are right.
///
/// # Errors
/// When it cannot be read, or a line is neither a rule nor a comment.
pub fn read_acl_file(file: &Path) -> Result<Vec<Rule>, AclFileError> {
    let unreadable = |error| AclFileError::Unreadable { file: file.to_owned(), error };
    parse_acl_file(file, &fs::read_to_string(file).map_err(unreadable)?)
}

/// As [`read_acl_file`], from text that has been read from `file`.
///
/// # Errors
/// As there.
pub fn parse_acl_file(file: &Path, text: &str) -> Result<Vec<Rule>, AclFileError> {
    let mut subject = Subject::Anonymous;
    let mut rules = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let faulty = |fault| AclFileError::Line { file: file.to_owned(), line, fault };
        rules.extend(parse_line(text.trim(), &mut subject).map_err(faulty)?);
    }
    Ok(rules)
}

fn parse_line(line: &str, subject: &mut Subject) -> Result<Option<Rule>, AclLineError> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim_start();
    if !matches!(word, "topic" | "user" | "pattern") {
        return Err(AclLineError::Word(word.to_owned()));
    }
    if rest.is_empty() {
        return Err(AclLineError::Missing);
    }
    match word {
        "user" => {
            *subject = Subject::User(rest.into());
            Ok(None)
        }
        "topic" => rule(subject.clone(), rest, RuleTopic::literal).map(Some),
        _ => rule(Subject::Everybody, rest, str::parse).map(Some),
    }
}

fn rule(
    subject: Subject,
    text: &str,
    topic: impl Fn(&str) -> Result<RuleTopic, RuleTopicError>,
) -> Result<Rule, AclLineError> {
    let (access, name) = text.split_once([' ', '\t']).map_or((None, text), |(access, name)| (Some(access), name));
    let (effect, publish, read) = match access {
        Some("read") => (Effect::Allow, false, true),
        Some("write") => (Effect::Allow, true, false),
        None | Some("readwrite") => (Effect::Allow, true, true),
        Some("deny") => (Effect::Deny, true, true),
        Some(other) => return Err(AclLineError::Access(other.to_owned())),
    };
    let actions = Actions { publish, subscribe: read, receive: read };
    Ok(Rule { subject, effect, actions, topic: topic(name.trim_start())?, refuse: Some(RefusedSubscribe::Filter) })
}
