//! Which port asks what of clients, and who answers for them.
//!
//! The password file is read at the start, and again when it has changed and at every SIGHUP. A file with a fault
//! stops the start; later it changes nothing, and an error says so. Clients whose account is gone are disconnected.

use std::{io, path::PathBuf, sync::Arc};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Accounts, Admission, AttemptLimits, Authenticator, PasswordFile, PasswordFileError},
    config::{AuthSettings, Authentication, Settings},
    mqtt::Broker,
};

use super::watch::Watch;

/// The accounts there are, for the ports that ask for one.
pub struct Admissions {
    settings: AuthSettings,
    authenticator: Arc<Authenticator>,
}

impl Admissions {
    /// Reads the password file, where there is one.
    pub fn read(settings: &Settings) -> Result<Self, PasswordFileError> {
        let settings = settings.auth.clone();
        let file = settings.password_file.as_deref().map(PasswordFile::read).transpose()?;
        // Without accounts there is still somebody to ask, who lets nobody in.
        let accounts = file.map(PasswordFile::into_accounts).unwrap_or_default();
        let authenticator = Arc::new(Authenticator::new(accounts));
        let AuthSettings { failed_attempts, ban, .. } = settings;
        authenticator.limit_attempts(AttemptLimits { failures: failed_attempts, ban });
        Ok(Self { settings, authenticator })
    }

    /// What a port asks for.
    pub fn of(&self, chosen: Option<Authentication>) -> Admission {
        match self.settings.effective(chosen) {
            Authentication::Optional => Admission::Optional(Arc::clone(&self.authenticator)),
            Authentication::Required => Admission::Required(Arc::clone(&self.authenticator)),
            Authentication::None => Admission::Open,
        }
    }

    /// Who reads the file again, where there is one.
    pub fn reader(&self, broker: Arc<Broker>) -> io::Result<Option<Reader>> {
        let Some(file) = self.settings.password_file.clone() else { return Ok(None) };
        let hangup = signal(SignalKind::hangup())?;
        let watch = Watch::new(vec![file.clone()]);
        Ok(Some(Reader { file, authenticator: Arc::clone(&self.authenticator), broker, hangup, watch }))
    }
}

/// Reads the password file again when it has changed, or when it is told to.
pub struct Reader {
    file: PathBuf,
    authenticator: Arc<Authenticator>,
    broker: Arc<Broker>,
    hangup: Signal,
    watch: Watch,
}

impl Reader {
    /// Does so until `stop` fires.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                told = self.hangup.recv() => if told.is_none() { return },
                () = self.watch.changed() => {}
            }
            let file = self.file.clone();
            let read = tokio::task::spawn_blocking(move || PasswordFile::read(&file).map(PasswordFile::into_accounts));
            match read.await {
                Ok(read) => self.take(read),
                Err(error) => tracing::error!(%error, "the password file was not read again"),
            }
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
