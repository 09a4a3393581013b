//! SCRAM-SHA-256 (RFC 5802 section 3, RFC 5803), the only form with which a client can prove who it is without
//! sending the password.
//!
//! In text it is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in
//! base64: the form of PostgreSQL. Who has it can neither log in nor, but by guessing, learn the
//! password; who has ServerKey can pose as this server. So `Debug` shows neither.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, digest::common::BlockSizeUser};
use subtle::ConstantTimeEq;

use super::VerifierError;
use crate::{
    auth::{prepare, scram::METHOD},
    limits,
};

/// A SHA-256 hash, or a key of its size.
pub(in crate::auth) type Key = [u8; 32];

/// Two of the same password are equal only with the same salt.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::auth) struct ScramKeys {
    pub(in crate::auth) iterations: u32,
    pub(in crate::auth) salt: Box<[u8]>,
    pub(in crate::auth) stored_key: Key,
    pub(in crate::auth) server_key: Key,
}

impl ScramKeys {
    /// Those of a password, with a salt of its own. Takes as long as the iterations do.
    ///
    /// # Errors
    /// When the iterations are out of their range, or the system has no random numbers.
    pub(in crate::auth) fn of(password: &[u8], iterations: u32) -> Result<Self, VerifierError> {
        let mut salt = [0; limits::SALT_BYTES];
        getrandom::fill(&mut salt).map_err(VerifierError::Random)?;
        Self::with_salt(password, &salt, iterations)
    }

    pub(in crate::auth) fn with_salt(password: &[u8], salt: &[u8], iterations: u32) -> Result<Self, VerifierError> {
        check(salt, iterations)?;
        let salted = salted_password(password, salt, iterations);
        let stored_key = stored_key(&hmac(&salted, &[b"Client Key"]));
        let server_key = hmac(&salted, &[b"Server Key"]);
        Ok(Self { iterations, salt: salt.into(), stored_key, server_key })
    }

    /// Whether these are of the password. Takes as long as the iterations do, and the same
    /// time for every password.
    pub(in crate::auth) fn matches(&self, password: &[u8]) -> bool {
        let salted = salted_password(password, &self.salt, self.iterations);
        self.proves(&hmac(&salted, &[b"Client Key"]))
    }

    /// Whether somebody who knows this ClientKey knows the password.
    pub(in crate::auth) fn proves(&self, client_key: &Key) -> bool {
        stored_key(client_key).ct_eq(&self.stored_key).into()
    }

    /// Keys that no password has, which take as long as these.
    pub(super) fn decoy(&self, draw: &impl Fn(&[u8]) -> Key) -> Self {
        Self::drawn(self.iterations, self.salt.len(), draw)
    }

    /// Keys that no password has.
    pub(in crate::auth) fn drawn(iterations: u32, salt_bytes: usize, draw: &impl Fn(&[u8]) -> Key) -> Self {
        Self {
            iterations,
            salt: super::drawn(draw, b"salt", salt_bytes),
            stored_key: draw(b"stored key"),
            server_key: draw(b"server key"),
        }
    }

    /// The text form, for a file that nobody else may read.
    pub(in crate::auth) fn expose(&self) -> String {
        let Self { iterations, salt, stored_key, server_key } = self;
        let [salt, stored_key, server_key] = [salt.as_ref(), stored_key, server_key].map(|bytes| BASE64.encode(bytes));
        format!("{METHOD}${iterations}:{salt}${stored_key}:{server_key}")
    }
}

impl FromStr for ScramKeys {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let (iterations, salt, stored_key, server_key) = parts(text).ok_or(VerifierError::Form)?;
        let iterations = iterations.parse().map_err(|_| VerifierError::Form)?;
        let decode = |part: &str| BASE64.decode(part).map_err(|_| VerifierError::Form);
        let key = |part| Key::try_from(decode(part)?).map_err(|_| VerifierError::Form);
        let salt = decode(salt)?.into_boxed_slice();
        check(&salt, iterations)?;
        Ok(Self { iterations, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (iterations, rest) = text.strip_prefix(METHOD)?.strip_prefix('$')?.split_once(':')?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    Some((iterations, salt, stored_key, server_key))
}

fn check(salt: &[u8], iterations: u32) -> Result<(), VerifierError> {
    if !(limits::MINIMUM_PASSWORD_ITERATIONS..=limits::MAXIMUM_PASSWORD_ITERATIONS).contains(&iterations) {
        return Err(VerifierError::Iterations);
    }
    if salt.is_empty() || salt.len() > limits::MAXIMUM_SALT_BYTES {
        return Err(VerifierError::Salt);
    }
    Ok(())
}

fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&prepare::password(password), salt, iterations)
}

fn stored_key(client_key: &Key) -> Key {
    Sha256::digest(client_key).into()
}

/// HMAC-SHA-256 of the parts one after the other.
pub(in crate::auth) fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    // A key below the block's size counts as if zeros followed it (RFC 2104 section 2).
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    debug_assert!(key.len() <= Sha256::block_size());
    block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    let mut mac = Hmac::<Sha256>::new(&block);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
