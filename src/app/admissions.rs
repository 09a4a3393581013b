//! Which port asks what of clients, and who answers for them.
//!
//! The password file is read at the start and again at every SIGHUP ([`super::reload`]). A file with a fault stops the
//! start; later it changes nothing, and an error says so.

use std::{path::PathBuf, sync::Arc};

use crate::{
    auth::{Accounts, Admission, AttemptLimits, Authenticator, PasswordFile, PasswordFileError},
    config::{AuthSettings, Authentication, Settings},
};

/// The accounts there are, for the ports that ask for one.
pub struct Admissions {
    settings: AuthSettings,
    authenticator: Option<Arc<Authenticator>>,
}

impl Admissions {
    /// Reads the password file, where there is one.
    pub fn read(settings: &Settings) -> Result<Self, PasswordFileError> {
        let settings = settings.auth.clone();
        let file = settings.password_file.as_deref().map(PasswordFile::read).transpose()?;
        let authenticator = file.map(|file| Arc::new(Authenticator::new(file.into_accounts())));
        if let Some(authenticator) = &authenticator {
            let AuthSettings { failed_attempts, ban, .. } = settings;
            authenticator.limit_attempts(AttemptLimits { failures: failed_attempts, ban });
        }
        Ok(Self { settings, authenticator })
    }

    /// What a port asks for.
    pub fn of(&self, chosen: Option<Authentication>) -> Admission {
        match (self.settings.effective(chosen), &self.authenticator) {
            (Authentication::Optional, Some(authenticator)) => Admission::Optional(Arc::clone(authenticator)),
            (Authentication::Required, Some(authenticator)) => Admission::Required(Arc::clone(authenticator)),
            // A configuration that asks has accounts to check with.
            (Authentication::None, _) | (_, None) => Admission::Open,
        }
    }

    /// Who reads the file again, where there is one.
    pub fn reader(&self) -> Option<Reader> {
        let (file, authenticator) = self.settings.password_file.as_ref().zip(self.authenticator.as_ref())?;
        Some(Reader { file: file.clone(), authenticator: Arc::clone(authenticator) })
    }
}

/// Reads the password file again when it is told to.
pub struct Reader {
    file: PathBuf,
    authenticator: Arc<Authenticator>,
}

impl Reader {
    /// Reads the file again.
    pub async fn read(&self) {
        let file = self.file.clone();
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
            }
            Err(error) => tracing::error!(%error, "the password file was not read again; the accounts are as before"),
        }
    }
}
