//! Which port asks what of clients, and who answers for them.
//!
//! The password file is read at the start, and again when it has changed and at every SIGHUP ([`super::reload`]). A
//! file with a fault stops the start; later it changes nothing, and an error says so. Clients whose account is gone are
//! disconnected.

use std::{path::PathBuf, sync::Arc};

use crate::{
    auth::{
        Accounts, Admission, AttemptLimits, Authenticator, KeyAddress, PasswordFile, PasswordFileError, Tokens,
        read_keys,
    },
    config::{AuthSettings, Authentication, Settings},
    mqtt::Broker,
};

use super::tokens;

/// The accounts there are, for the ports that ask for one.
pub struct Admissions {
    settings: AuthSettings,
    authenticator: Arc<Authenticator>,
    tokens: Option<Arc<Tokens>>,
}

impl Admissions {
    /// Reads the password file, and the keys of tokens, where there are any.
    pub fn read(settings: &Settings) -> anyhow::Result<Self> {
        let settings = settings.auth.clone();
        let file = settings.password_file.as_deref().map(PasswordFile::read).transpose()?;
        // Without accounts there is still somebody to ask, who lets nobody in.
        let tokens = settings.jwt.as_ref().map(tokens::read).transpose()?;
        let accounts = file.map(PasswordFile::into_accounts).unwrap_or_default();
        let authenticator = Arc::new(Authenticator::new(accounts).with_tokens(tokens.clone()));
        let AuthSettings { failed_attempts, ban, .. } = settings;
        authenticator.limit_attempts(AttemptLimits { failures: failed_attempts, ban });
        Ok(Self { settings, authenticator, tokens })
    }

    /// What a port asks for.
    pub fn of(&self, chosen: Option<Authentication>) -> Admission {
        match self.settings.effective(chosen) {
            Authentication::Optional => Admission::Optional(Arc::clone(&self.authenticator)),
            Authentication::Required => Admission::Required(Arc::clone(&self.authenticator)),
            Authentication::None => Admission::Open,
        }
    }

    /// What has its keys fetched, and where, where that is so.
    pub fn token_keys(&self) -> anyhow::Result<Option<(Arc<Tokens>, KeyAddress)>> {
        let address = self.settings.jwt.as_ref().map(|jwt| tokens::address(jwt, "mqtt")).transpose()?.flatten();
        Ok(self.tokens.clone().zip(address))
    }

    /// Who reads the files again.
    pub fn reader(&self, broker: Arc<Broker>) -> Reader {
        let file = self.settings.password_file.clone();
        let key_file = self.settings.jwt.as_ref().and_then(|jwt| jwt.key_file.clone());
        let keys = self.tokens.clone().zip(key_file);
        Reader { file, keys, authenticator: Arc::clone(&self.authenticator), broker }
    }
}

/// Reads the password file, and the file with the keys of tokens, again, where there are any.
pub struct Reader {
    file: Option<PathBuf>,
    keys: Option<(Arc<Tokens>, PathBuf)>,
    authenticator: Arc<Authenticator>,
    broker: Arc<Broker>,
}

impl Reader {
    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.file.iter().chain(self.keys.iter().map(|(_, file)| file)).cloned().collect()
    }

    /// Does so.
    pub async fn read(&self) {
        if let Some((tokens, file)) = &self.keys {
            match read_keys(file) {
                Ok(keys) => {
                    tracing::info!(keys = keys.len(), "read the keys of tokens again");
                    tokens.replace(keys);
                }
                Err(error) => tracing::error!(%error, "the keys of tokens are as before"),
            }
        }
        let Some(file) = self.file.clone() else { return };
        let read = tokio::task::spawn_blocking(move || PasswordFile::read(&file).map(PasswordFile::into_accounts));
        match read.await {
            Ok(read) => self.take(read),
            Err(error) => tracing::error!(%error, "the password file was not read again"),
        }
    }

    fn take(&self, read: Result<Accounts, PasswordFileError>) {
        match read {
            Ok(accounts) => {
                tracing::info!(accounts = accounts.len(), "read the password file again");
                self.authenticator.replace(accounts);
                self.broker.review();
            }
            Err(error) => tracing::error!(%error, "the password file was not read again; the accounts are as before"),
        }
    }
}
