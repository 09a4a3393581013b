//! Accounts by name, and what stands in for those that there are not.
//!
//! Whoever asks for a name that nobody has gets a decoy: a verifier that no password fits, with a
//! salt that is always the same for this name and this file, in the form and with the costs of one of the accounts.
//! The same holds for an account that SCRAM asks for and that has no keys for it. So neither the time of an answer nor what is in it tells which names exist,
//! within one state of the file.

use std::{borrow::Cow, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    prepare,
    verifier::{Key, ScramKeys, Verifier, hmac},
};
use crate::limits;

/// The name of an account that somebody has proven to have.
pub type User = Arc<str>;

/// All accounts of a file.
#[derive(Debug, Default)]
pub struct Accounts {
    /// By name.
    accounts: Box<[Account]>,
    /// Iterations and salt length of those that SCRAM can ask for, as many as a lot can choose from.
    models: Box<[(u32, usize)]>,
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

/// What SCRAM finds under a name.
#[derive(Debug)]
pub(super) struct FoundKeys {
    /// As in [`Found`].
    pub(super) user: Option<User>,
    pub(super) keys: ScramKeys,
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
            hash.update(verifier.expose());
        }
        let keys = accounts.iter().filter_map(|account| account.verifier.scram());
        let models = keys.map(|keys| (keys.iterations, keys.salt.len())).take(1 << u8::BITS).collect();
        Self { accounts, models, secret: Secret(hash.finalize().into()) }
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
        let (name, account) = self.look_up(name);
        let decoy = self.decoy(&name);
        match account {
            Some(account) => Found { user: Some(Arc::clone(&account.name)), verifier: Arc::clone(&account.verifier) },
            None => Found { user: None, verifier: Arc::new(decoy) },
        }
    }

    /// The account of a name for SCRAM, or a decoy in its place, in the same time.
    pub(super) fn find_keys(&self, name: &str) -> FoundKeys {
        let (name, account) = self.look_up(name);
        let decoy = self.decoy_keys(&name);
        match account.and_then(|account| Some((account, account.verifier.scram()?))) {
            Some((account, keys)) => FoundKeys { user: Some(Arc::clone(&account.name)), keys: keys.clone() },
            None => FoundKeys { user: None, keys: decoy },
        }
    }

    /// A name in the form of accounts, and its account.
    fn look_up<'a>(&self, name: &'a str) -> (Cow<'a, str>, Option<&Account>) {
        let name = prepare::name(name).unwrap_or(Cow::Borrowed(name));
        let found = self.accounts.binary_search_by(|account| account.name.as_ref().cmp(&*name)).ok();
        (name, found.and_then(|at| self.accounts.get(at)))
    }

    fn decoy(&self, name: &str) -> Verifier {
        let model = self.lot(name).checked_rem(self.accounts.len()).and_then(|at| self.accounts.get(at));
        model.map_or_else(|| self.decoy_keys(name).into(), |model| model.verifier.decoy(|what| self.draw(what, name)))
    }

    fn decoy_keys(&self, name: &str) -> ScramKeys {
        let model = self.lot(name).checked_rem(self.models.len()).and_then(|at| self.models.get(at));
        let (iterations, salt_bytes) = model.copied().unwrap_or((limits::PASSWORD_ITERATIONS, limits::SALT_BYTES));
        ScramKeys::drawn(iterations, salt_bytes, &|what| self.draw(what, name))
    }

    fn lot(&self, name: &str) -> usize {
        let [lot, ..] = self.draw(b"lot", name);
        lot.into()
    }

    fn draw(&self, what: &[u8], name: &str) -> Key {
        hmac(&self.secret.0, &[what, name.as_bytes()])
    }
}
