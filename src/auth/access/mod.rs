//! Who may do what: publish, subscribe and receive, by topic.
//!
//! [`Rule`]s come from the configuration and from files in mosquitto's form ([`acl_file`]); a
//! [`Policy`] is all of them, and what a refusal is answered with. [`Rules`] is a policy in the form
//! that answers questions, a tree of topic levels for each subject. [`AccessControl`] holds the rules
//! in effect and lets everyone see when others take their place.
//!
//! No task owns anything here: connections and the dispatcher call in, nothing blocks.
//!
//! Invariants: without rules everything is allowed, with any, what none allows is not; a rule that
//! denies wins over all that allow, in whatever order they are written; a client identifier or user
//! name never stands for more than one level, so that none with `/`, `+` or `#` in it widens a rule.
//!
//! Failure: a file with a fault is refused whole, with the fault's line.

mod acl_file;
mod control;
mod marks;
mod rule;
mod rules;
#[cfg(test)]
mod tests;
mod tree;

pub use acl_file::{AclFileError, AclLineError, parse_acl_file, read_acl_file};
pub use control::AccessControl;
pub use rule::{Actions, Effect, Policy, RefusedPublish, RefusedSubscribe, Rule, Subject};
pub use rules::{Grant, Rules, Who};
