//! Which port asks what of clients, and who answers for them.
//!
//! The password files, of the configuration and of devices, are read at the start, and again when they have changed and at every SIGHUP ([`super::reload`]). A
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
    provisioning::Registry,
};

use super::tokens;

/// The accounts there are, for the ports that ask for one.
pub struct Admissions {
    settings: AuthSettings,
    files: Files,
    authenticator: Arc<Authenticator>,
    tokens: Option<Arc<Tokens>>,
}

impl Admissions {
    /// Reads the password file, and the keys of tokens, where there are any.
    pub fn read(settings: &Settings) -> anyhow::Result<Self> {
        let files = Files::of(settings);
        let settings = settings.auth.clone();
        let accounts = files.read()?;
        // Without accounts there is still somebody to ask, who lets nobody in.
        let tokens = settings.jwt.as_ref().map(tokens::read).transpose()?;
        let authenticator = Arc::new(Authenticator::new(accounts).with_tokens(tokens.clone()));
        let AuthSettings { failed_attempts, ban, .. } = settings;
        authenticator.limit_attempts(AttemptLimits { failures: failed_attempts, ban });
        Ok(Self { settings, files, authenticator, tokens })
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
        let files = self.files.clone();
        let key_file = self.settings.jwt.as_ref().and_then(|jwt| jwt.key_file.clone());
        let keys = self.tokens.clone().zip(key_file);
        Reader { files, keys, authenticator: Arc::clone(&self.authenticator), broker }
    }
}

/// The password files: of the configuration, and of devices.
#[derive(Clone)]
struct Files(Vec<PathBuf>);

/// Why there are no accounts.
#[derive(Debug, thiserror::Error)]
enum AccountsError {
    #[error(transparent)]
    File(#[from] PasswordFileError),
    #[error("the account {name} is in {} and in another password file", file.display())]
    Twice { name: String, file: PathBuf },
}

impl Files {
    fn of(settings: &Settings) -> Self {
        let devices = settings.devices_dir().map(|dir| Registry::new(dir).passwords());
        Self(settings.auth.password_file.iter().cloned().chain(devices).collect())
    }

    fn read(&self) -> Result<Accounts, AccountsError> {
        let mut all: Option<PasswordFile> = None;
        for file in &self.0 {
            let read = PasswordFile::read(file)?;
            match &mut all {
                Some(all) => all.join(read).map_err(|name| AccountsError::Twice { name, file: file.clone() })?,
                None => all = Some(read),
            }
        }
        Ok(all.map(PasswordFile::into_accounts).unwrap_or_default())
    }
}

/// Reads the password files, and the file with the keys of tokens, again, where there are any.
pub struct Reader {
    files: Files,
    keys: Option<(Arc<Tokens>, PathBuf)>,
    authenticator: Arc<Authenticator>,
    broker: Arc<Broker>,
}

impl Reader {
    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.0.iter().chain(self.keys.iter().map(|(_, file)| file)).cloned().collect()
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
        if self.files.0.is_empty() {
            return;
        }
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read());
        match read.await {
            Ok(read) => self.take(read),
            Err(error) => tracing::error!(%error, "the password file was not read again"),
        }
    }

    fn take(&self, read: Result<Accounts, AccountsError>) {
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
