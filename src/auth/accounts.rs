//! Accounts by name, and what stands in for those that there are not.
//!
//! Whoever asks for a name that nobody has gets a decoy: a verifier that no password fits, with a
//! salt that is always the same for this name and this file, and the iterations and salt length of
//! one of the accounts. So neither the time of an answer nor what is in it tells which names exist,
//! within one state of the file.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    prepare,
    verifier::{Key, Verifier, hmac},
};
use crate::limits;

/// The name of an account that somebody has proven to have.
pub type User = Arc<str>;

/// All accounts of a file.
#[derive(Debug, Default)]
pub struct Accounts {
    /// By name.
    accounts: Box<[Account]>,
    secret: Secret,
}

#[derive(Debug)]
struct Account {
    name: User,
    verifier: Arc<Verifier>,
}

/// What decoys are made from; nobody who cannot read the file can know it.
#[derive(Default)]
struct Secret(Key);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What is known under a name.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The name's owner; none for a decoy, whatever its verifier says.
    pub(super) user: Option<User>,
    pub(super) verifier: Arc<Verifier>,
}

impl Accounts {
    /// Accounts with different names.
    pub(super) fn new(accounts: impl IntoIterator<Item = (User, Verifier)>) -> Self {
        let mut accounts: Box<[_]> =
            accounts.into_iter().map(|(name, verifier)| Account { name, verifier: Arc::new(verifier) }).collect();
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        for Account { name, verifier } in &accounts {
            hash.update(name.as_bytes());
            hash.update(verifier.server_key);
        }
        Self { accounts, secret: Secret(hash.finalize().into()) }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether there is an account of this name.
    pub(super) fn has(&self, user: &User) -> bool {
        self.accounts.binary_search_by(|account| account.name.cmp(user)).is_ok()
    }

    /// The account of a name, or a decoy in its place, in the same time.
    pub(super) fn find(&self, name: &str) -> Found {
        let prepared = prepare::name(name);
        let name = prepared.as_deref().unwrap_or(name);
        let decoy = self.decoy(name);
        let found = self.accounts.binary_search_by(|account| account.name.as_ref().cmp(name)).ok();
        match found.and_then(|at| self.accounts.get(at)) {
            Some(account) => Found { user: Some(Arc::clone(&account.name)), verifier: Arc::clone(&account.verifier) },
            None => Found { user: None, verifier: Arc::new(decoy) },
        }
    }

    fn decoy(&self, name: &str) -> Verifier {
        let draw = |what: &[u8]| hmac(&self.secret.0, &[what, name.as_bytes()]);
        let [lot, ..] = draw(b"lot").map(usize::from);
        let model = lot.checked_rem(self.accounts.len()).and_then(|at| self.accounts.get(at));
        let (iterations, salt_bytes) = model.map_or((limits::PASSWORD_ITERATIONS, limits::SALT_BYTES), |model| {
            (model.verifier.iterations, model.verifier.salt.len())
        });
        let salt = [draw(b"salt"), draw(b"more salt")].concat().into_iter().take(salt_bytes).collect();
        Verifier { iterations, salt, stored_key: draw(b"stored key"), server_key: draw(b"server key") }
    }
}
