//! API keys: secrets for programs, each with a name, what it grants, and perhaps an end.
//!
//! A key is 256 random bits. Nobody guesses one, however fast a guess is checked, so its SHA-256 is all that protects the
//! file from whoever reads it: a slow hash helps where people choose secrets, and would cost each request here. A key is
//! found by its hash, which says nothing of how near a guess was.
//!
//! The file is TOML and may be edited: a key whose entry has gone or changed is revoked, and whatever is open for it ends.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, Who, now};
use crate::{
    auth::private_file,
    limits,
    types::{Grant, Micros},
};

/// What every key begins with: so one that lies where it should not is recognised.
const PREFIX: &str = "sk_live_";

const SECRET_BYTES: usize = 32;

/// What a file begins with.
const HEAD: &str =
    "# API keys of synap-mqtt. Of each key there is only a hash; `synap-mqtt apikey` makes and revokes them.\n\n";

/// The SHA-256 of a key.
pub(super) type Hash = [u8; 32];

/// The hash of a secret that nobody guesses.
pub(super) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// A new secret, in a form that goes everywhere.
pub(super) fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64URL.encode(bytes))
}

/// Why there are no keys, or not this one.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The file cannot be read.
    #[error("{}: cannot read the API keys: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the API keys: {error}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: not a file of API keys: {fault}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The name cannot be one.
    #[error("a name has 1 to {} characters, and none that does not print", limits::API_KEY_NAME_CHARS)]
    Name,
    /// Two keys would have one name.
    #[error("there is a key of the name {0:?} already: revoke it, or take another name")]
    Taken(String),
    /// As many as may be.
    #[error("there are {} keys already: revoke some", limits::API_KEYS)]
    TooMany,
    /// It would be good for nothing.
    #[error("the key would end before it begins")]
    Expired,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// What a file says of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its name, which no other has.
    pub name: String,
    /// In hexadecimal.
    sha256: KeyHash,
    /// When it was made.
    pub created: Micros,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Micros>,
    /// What its holder may do.
    pub allow: Vec<Grant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct KeyHash(Hash);

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or("expected the 64 hexadecimal digits of a SHA-256")
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A file of keys in memory.
#[derive(Debug)]
pub struct ApiKeyFile {
    file: PathBuf,
    keys: Vec<ApiKey>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    key: Vec<ApiKey>,
}

impl ApiKeyFile {
    /// Reads a file; one that is not there has no keys.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong.
    pub fn read(file: &Path) -> Result<Self, ApiKeyError> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| ApiKeyError::Unreadable { file: file.to_owned(), error })?,
        };
        let fault = |fault: String| ApiKeyError::Form { file: file.to_owned(), fault };
        let Content { key: keys } = toml::from_str(&text).map_err(|error| fault(error.to_string()))?;
        let mut names = BTreeSet::new();
        if let Some(twice) = keys.iter().find(|key| !names.insert(key.name.as_str())) {
            return Err(fault(format!("two keys have the name {:?}", twice.name)));
        }
        if keys.len() > limits::API_KEYS {
            return Err(ApiKeyError::TooMany);
        }
        Ok(Self { file: file.to_owned(), keys })
    }

    /// The keys, in the order in which they were made.
    #[must_use]
    pub fn keys(&self) -> &[ApiKey] {
        &self.keys
    }

    /// Makes a key, and returns it: it is nowhere else.
    ///
    /// # Errors
    /// When there can be none of this name, or with this end.
    pub fn create(&mut self, name: &str, allow: Vec<Grant>, expires: Option<Micros>) -> Result<String, ApiKeyError> {
        let length = name.chars().count();
        if !(1..=limits::API_KEY_NAME_CHARS).contains(&length) || name.trim() != name || name.contains(char::is_control)
        {
            return Err(ApiKeyError::Name);
        }
        if self.keys.iter().any(|key| key.name == name) {
            return Err(ApiKeyError::Taken(name.to_owned()));
        }
        if self.keys.len() >= limits::API_KEYS {
            return Err(ApiKeyError::TooMany);
        }
        let created = now();
        if expires.is_some_and(|expires| expires <= created) {
            return Err(ApiKeyError::Expired);
        }
        let secret = format!("{PREFIX}{}", secret()?);
        self.keys.push(ApiKey { name: name.to_owned(), sha256: KeyHash(hash(&secret)), created, expires, allow });
        Ok(secret)
    }

    /// Takes a key away; whether there was one of this name.
    pub fn revoke(&mut self, name: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name);
        self.keys.len() < before
    }

    /// Writes it in the place of the old one.
    ///
    /// # Errors
    /// As the system says; the old file is as it was then.
    pub fn write(&self) -> Result<(), ApiKeyError> {
        let content = Content { key: self.keys.clone() };
        let text = toml::to_string(&content).map_err(io::Error::other);
        let written = text.and_then(|text| private_file::replace(&self.file, &format!("{HEAD}{text}")));
        written.map_err(|error| ApiKeyError::Unwritable { file: self.file.clone(), error })
    }
}

/// The keys that are taken.
#[derive(Debug, Default)]
pub struct ApiKeys(RwLock<HashMap<Hash, Known>>);

#[derive(Debug)]
struct Known {
    key: ApiKey,
    caller: Caller,
    revoked: CancellationToken,
}

impl Known {
    fn new(key: ApiKey) -> Self {
        let revoked = CancellationToken::new();
        let who = Who::Key(key.name.as_str().into());
        let caller = Caller::new(who, key.allow.iter().collect(), key.expires, Some(revoked.clone()));
        Self { key, caller, revoked }
    }
}

impl ApiKeys {
    /// Takes these from now on. Callers of others are over.
    pub fn replace(&self, file: ApiKeyFile) {
        let mut known = self.0.write();
        let (mut old, mut changed) = (std::mem::take(&mut *known), Vec::new());
        for key in file.keys {
            let hash = key.sha256.0;
            let same = match old.remove(&hash) {
                Some(same) if same.key == key => same,
                other => {
                    changed.extend(other);
                    Known::new(key)
                }
            };
            known.insert(hash, same);
        }
        drop(known);
        old.into_values().chain(changed).for_each(|gone| gone.revoked.cancel());
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The caller that shows a key, if it is one; it may be over.
    pub(super) fn caller(&self, key: &str) -> Option<Caller> {
        self.0.read().get(&hash(key)).map(|known| known.caller.clone())
    }
}

/// Whether a token has the form of a key.
pub(super) fn is_key(token: &str) -> bool {
    token.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::types::Scope;

    fn allow(texts: &[&str]) -> Vec<Grant> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn keys_are_made_read_and_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api-keys.toml");
        let mut file = ApiKeyFile::read(&path).unwrap();
        let later = Some(Micros::saturating(now().get() + 3_600_000_000));
        let one = file.create("one", allow(&["stream:read=a/#"]), later).unwrap();
        let other = file.create("other", allow(&["publish"]), None).unwrap();
        assert!(is_key(&one) && one.len() == PREFIX.len() + 43 && one != other);
        file.write().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&one[PREFIX.len()..]), "{text}");

        let keys = ApiKeys::default();
        keys.replace(ApiKeyFile::read(&path).unwrap());
        let (first, second) = (keys.caller(&one).unwrap(), keys.caller(&other).unwrap());
        assert!(first.topics(Scope::StreamRead).have(Some("a")) && !first.topics(Scope::StreamRead).have(Some("b")));
        assert_eq!(first.expires(), later);
        assert!(keys.caller(&format!("{one}x")).is_none() && keys.caller("").is_none());

        let mut file = ApiKeyFile::read(&path).unwrap();
        assert!(file.revoke("one") && !file.revoke("one"));
        file.write().unwrap();
        keys.replace(ApiKeyFile::read(&path).unwrap());
        assert!(first.is_over() && keys.caller(&one).is_none());
        assert!(!second.is_over(), "another key has nothing to do with it");
    }

    #[test]
    fn a_key_that_was_changed_ends_what_it_had_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api-keys.toml");
        let mut file = ApiKeyFile::read(&path).unwrap();
        let key = file.create("one", allow(&["stream:read"]), None).unwrap();
        let keys = ApiKeys::default();
        file.write().unwrap();
        keys.replace(file);
        let before = keys.caller(&key).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("stream:read", "stream:read=a")).unwrap();
        keys.replace(ApiKeyFile::read(&path).unwrap());
        assert!(before.is_over());
        let after = keys.caller(&key).unwrap();
        assert!(!after.is_over() && !after.topics(Scope::StreamRead).have(Some("b")));
    }

    #[test]
    fn what_is_no_key_or_no_file_of_keys_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api-keys.toml");
        let mut file = ApiKeyFile::read(&path).unwrap();
        for name in ["", " a", "a\n", &"x".repeat(limits::API_KEY_NAME_CHARS + 1)] {
            assert!(matches!(file.create(name, Vec::new(), None), Err(ApiKeyError::Name)), "{name:?}");
        }
        let past = Some(Micros::saturating(1));
        assert!(matches!(file.create("a", Vec::new(), past), Err(ApiKeyError::Expired)));
        file.create("a", Vec::new(), None).unwrap();
        assert!(matches!(file.create("a", Vec::new(), None), Err(ApiKeyError::Taken(_))));
        let key = "[[key]]\nname = \"a\"\ncreated = \"2026-01-31T12:00:00Z\"\nallow = []\n";
        let digits = "ab".repeat(32);
        for text in [
            "nonsense".to_owned(),
            format!("{key}sha256 = \"ab\"\n"),
            format!("{key}sha256 = \"{digits}\"\nextra = 1\n"),
            format!("{key}sha256 = \"{digits}\"\n{key}sha256 = \"{digits}\"\n"),
            format!("{}sha256 = \"{digits}\"\n", key.replace("[]", "[\"read\"]")),
        ] {
            fs::write(&path, &text).unwrap();
            assert!(matches!(ApiKeyFile::read(&path), Err(ApiKeyError::Form { .. })), "{text}");
        }
        fs::write(&path, format!("{key}sha256 = \"{digits}\"\n")).unwrap();
        assert_eq!(ApiKeyFile::read(&path).unwrap().keys().len(), 1);
    }
}
