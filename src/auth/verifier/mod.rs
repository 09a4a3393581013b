//! What is kept of a password, in the forms of which a password file may have any:
//!
//! | text | by | for |
//! | --- | --- | --- |
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | `synap-mqtt passwd` | passwords that people choose: guessing costs memory |
//! | `SCRAM-SHA-256$…` | `synap-mqtt passwd --scram`, PostgreSQL | clients that prove a password without sending it; passwords that machines make |
//! | `$6$salt$hash`, `$7$iterations$salt$hash` | mosquitto 1 and 2 | those who bring their file |
//!
//! Who reads one cannot log in with it but by guessing the password. `Debug` shows none.

mod argon;
mod mosquitto;
mod scram;

use std::{fmt, str::FromStr};

use argon::Argon2Hash;
use mosquitto::MosquittoHash;
pub(super) use scram::{Key, ScramKeys, hmac};

use crate::limits;

/// A verifier. Two of the same password are equal only with the same salt.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Argon2(Argon2Hash),
    Mosquitto(MosquittoHash),
    Scram(ScramKeys),
}

/// Why a text is no verifier, or none can be made. Does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// None of the forms.
    #[error(
        "expected $argon2id$…, SCRAM-SHA-256$…, $7$… or $6$…, as `synap-mqtt passwd` or mosquitto_passwd writes it"
    )]
    Form,
    /// Iterations out of their range.
    #[error("expected {minimum} to {maximum} iterations", minimum = limits::MINIMUM_PASSWORD_ITERATIONS, maximum = limits::MAXIMUM_PASSWORD_ITERATIONS)]
    Iterations,
    /// The salt's length is out of its range.
    #[error("expected a salt of 1 to {maximum} bytes", maximum = limits::MAXIMUM_SALT_BYTES)]
    Salt,
    /// A check would take too much.
    #[error("expected at most m={memory}, t={passes}, p={lanes}", memory = limits::MAXIMUM_ARGON2_MEMORY, passes = limits::MAXIMUM_ARGON2_PASSES, lanes = limits::MAXIMUM_ARGON2_LANES)]
    Cost,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Verifier {
    /// An argon2id hash of a password, with a salt of its own. Takes some hundredths of a second and
    /// [`limits::ARGON2_MEMORY`].
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn of(password: &[u8]) -> Result<Self, VerifierError> {
        Argon2Hash::of(password).map(|hash| Self(Form::Argon2(hash)))
    }

    /// SCRAM keys of a password, with a salt of their own. Takes as long as the iterations do.
    ///
    /// # Errors
    /// When the iterations are out of their range, or the system has no random numbers.
    pub fn scram_of(password: &[u8], iterations: u32) -> Result<Self, VerifierError> {
        ScramKeys::of(password, iterations).map(|keys| Self(Form::Scram(keys)))
    }

    /// Whether this is a verifier of the password. Takes the same time for every password.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        match &self.0 {
            Form::Argon2(hash) => hash.matches(password),
            Form::Mosquitto(hash) => hash.matches(password),
            Form::Scram(keys) => keys.matches(password),
        }
    }

    /// The text form, for a file that nobody else may read.
    #[must_use]
    pub fn expose(&self) -> String {
        match &self.0 {
            Form::Argon2(hash) => hash.expose(),
            Form::Mosquitto(hash) => hash.expose(),
            Form::Scram(keys) => keys.expose(),
        }
    }

    /// What SCRAM needs, where it is there.
    pub(super) const fn scram(&self) -> Option<&ScramKeys> {
        match &self.0 {
            Form::Scram(keys) => Some(keys),
            Form::Argon2(_) | Form::Mosquitto(_) => None,
        }
    }

    /// One that no password fits, in the same form, that takes as long; `draw` makes bytes for a purpose.
    pub(super) fn decoy(&self, draw: impl Fn(&[u8]) -> Key) -> Self {
        Self(match &self.0 {
            Form::Argon2(hash) => Form::Argon2(hash.decoy(&draw)),
            Form::Mosquitto(hash) => Form::Mosquitto(hash.decoy(&draw)),
            Form::Scram(keys) => Form::Scram(keys.decoy(&draw)),
        })
    }
}

impl From<ScramKeys> for Verifier {
    fn from(keys: ScramKeys) -> Self {
        Self(Form::Scram(keys))
    }
}

impl FromStr for Verifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let form = match text {
            argon if argon.starts_with("$argon2id$") => Form::Argon2(argon.parse()?),
            mosquitto if mosquitto.starts_with('$') => Form::Mosquitto(mosquitto.parse()?),
            scram => Form::Scram(scram.parse()?),
        };
        Ok(Self(form))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Form::Argon2(_) => "Verifier(argon2id)",
            Form::Mosquitto(_) => "Verifier(mosquitto)",
            Form::Scram(_) => "Verifier(SCRAM-SHA-256)",
        })
    }
}

/// Bytes for a purpose: never more than two hashes, because salts have a bound.
fn drawn(draw: &impl Fn(&[u8]) -> Key, purpose: &[u8], length: usize) -> Box<[u8]> {
    const { assert!(limits::MAXIMUM_SALT_BYTES <= 2 * size_of::<Key>()) };
    [draw(purpose), draw(&[purpose, b", more"].concat())].concat().into_iter().take(length).collect()
}
