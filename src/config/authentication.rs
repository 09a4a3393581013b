//! `[auth]`, and what each port asks of its clients.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    access::{PublishAnswer, RuleSettings, SubscribeAnswer},
    jwt::JwtSettings,
    units::{duration, number, write_duration},
};
use crate::limits;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// Who there is, and who may do what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct AuthSettings {
    /// Accounts, as `synap-mqtt passwd` writes them; relative to the working directory. Without it
    /// nobody is asked for a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whether the devices come in that `synap-mqtt devices add` has made, and none of them has other topics than it was
    /// given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub devices: bool,
    /// Access rules in the form of mosquitto's `acl_file`, besides those below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl_file: Option<PathBuf>,
    /// What answers a SUBSCRIBE that no rule allows, where no rule says otherwise.
    pub refused_subscribe: SubscribeAnswer,
    /// What becomes of a QoS 1 or 2 PUBLISH of 3.1.1 that no rule allows.
    pub refused_publish: PublishAnswer,
    /// Failed attempts within a minute after which an address, or a user name, is refused for a while;
    /// 0 for never.
    #[serde(deserialize_with = "number::<_, _, 0, 1_000_000>")]
    pub failed_attempts: u32,
    /// How long it is refused then.
    #[serde(deserialize_with = "duration::<_, SECOND, DAY>", serialize_with = "write_duration")]
    pub ban: Duration,
    /// Tokens that are taken in the place of passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSettings>,
    /// Accounts by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Access rules. Without any, without an `acl_file` and without `devices`, everybody may do everything.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            password_file: None,
            devices: false,
            acl_file: None,
            refused_subscribe: SubscribeAnswer::default(),
            refused_publish: PublishAnswer::default(),
            failed_attempts: limits::FAILED_ATTEMPTS,
            ban: limits::BAN,
            jwt: None,
            roles: BTreeMap::new(),
            rules: Vec::new(),
        }
    }
}

/// What a port asks of MQTT clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// Nothing: user names and passwords are not looked at.
    None,
    /// Proof from those who say who they are.
    Optional,
    /// Proof from everyone.
    Required,
}

impl AuthSettings {
    /// What a port asks for: what was chosen for it, else whatever there is to check it with.
    #[must_use]
    pub const fn effective(&self, chosen: Option<Authentication>) -> Authentication {
        match chosen {
            Some(chosen) => chosen,
            None if self.has_accounts() => Authentication::Required,
            None => Authentication::None,
        }
    }

    /// Whether there is anything to check credentials with.
    const fn has_accounts(&self) -> bool {
        self.password_file.is_some() || self.devices || self.jwt.is_some()
    }

    /// What is wrong with a choice.
    pub(super) fn check(&self, chosen: Option<Authentication>) -> Option<String> {
        let asks = chosen.is_some_and(|chosen| chosen != Authentication::None);
        (asks && !self.has_accounts())
            .then(|| "needs the accounts of `auth.password_file`, `auth.devices` or `auth.jwt`".to_owned())
    }
}
