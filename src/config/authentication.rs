//! `[auth]`, and what each port asks of its clients.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct AuthSettings {
    /// Accounts, as `synap-mqtt passwd` writes them; relative to the working directory. Without it
    /// nobody is asked for a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
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
        match (chosen, &self.password_file) {
            (Some(chosen), _) => chosen,
            (None, Some(_)) => Authentication::Required,
            (None, None) => Authentication::None,
        }
    }

    /// What is wrong with a choice.
    pub(super) fn check(&self, chosen: Option<Authentication>) -> Option<String> {
        let asks = chosen.is_some_and(|chosen| chosen != Authentication::None);
        (asks && self.password_file.is_none()).then(|| "needs the accounts of `auth.password_file`".to_owned())
    }
}
