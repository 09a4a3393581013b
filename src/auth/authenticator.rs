//! Answers for the accounts of one password file.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{Accounts, Exchange, ScramError, User, derivation::Derivations};

/// Checks who clients say they are.
#[derive(Debug, Default)]
pub struct Authenticator {
    /// Replaced as a whole; whoever is at it goes on with those that were.
    accounts: RwLock<Arc<Accounts>>,
    derivations: Derivations,
}

impl Authenticator {
    /// Answers for these accounts.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts: RwLock::new(Arc::new(accounts)), derivations: Derivations::default() }
    }

    /// Answers for other accounts from now on. Clients that have come in stay in.
    pub fn replace(&self, accounts: Accounts) {
        *self.accounts.write() = Arc::new(accounts);
    }

    fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts.read())
    }

    /// Whose password this is; none where it is not the one of that name, or nobody has the name,
    /// after the same time. Cancel safe.
    pub async fn check_password(&self, name: &str, password: &[u8]) -> Option<User> {
        let found = self.accounts().find(name);
        let verifier = Arc::clone(&found.verifier);
        let password = password.to_owned();
        let matches = self.derivations.run(move || verifier.matches(&password)).await?;
        found.user.filter(|_| matches)
    }

    /// Begins an exchange with the client's first message; returns the server's, to be sent.
    ///
    /// # Errors
    /// When it is no such message, or asks for what is not offered.
    pub fn begin(&self, client_first: &[u8]) -> Result<(Exchange, String), ScramError> {
        Exchange::begin(&self.accounts(), client_first)
    }
}
