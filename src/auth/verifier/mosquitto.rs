//! The forms of mosquitto's password file, read so that users can bring theirs: `$6$salt$hash` of mosquitto 1, one round of
//! SHA-512 over password and salt, and `$7$iterations$salt$hash` of mosquitto 2, PBKDF2 with HMAC-SHA-512; salt and hash in
//! base64. See `mosquitto_passwd(1)`. The password is taken as its bytes are, without SASLprep.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::{Key, VerifierError, drawn};
use crate::limits;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct MosquittoHash {
    /// None for the one round of `$6$`.
    iterations: Option<u32>,
    salt: Box<[u8]>,
    hash: [u8; 64],
}

impl MosquittoHash {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let hash: [u8; 64] = match self.iterations {
            Some(iterations) => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, &self.salt, iterations),
            None => Sha512::new().chain_update(password).chain_update(&self.salt).finalize().into(),
        };
        hash.ct_eq(&self.hash).into()
    }

    pub(super) fn expose(&self) -> String {
        let [salt, hash] = [&self.salt[..], &self.hash].map(|bytes| BASE64.encode(bytes));
        match self.iterations {
            Some(iterations) => format!("$7${iterations}${salt}${hash}"),
            None => format!("$6${salt}${hash}"),
        }
    }

    pub(super) fn decoy(&self, draw: &impl Fn(&[u8]) -> Key) -> Self {
        let mut hash = [0; 64];
        hash.iter_mut().zip(drawn(draw, b"hash", 64)).for_each(|(place, byte)| *place = byte);
        Self { iterations: self.iterations, salt: drawn(draw, b"salt", self.salt.len()), hash }
    }
}

impl FromStr for MosquittoHash {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let (iterations, salt, hash) = match text.split('$').collect::<Vec<_>>()[..] {
            ["", "6", salt, hash] => (None, salt, hash),
            ["", "7", iterations, salt, hash] => (Some(iterations), salt, hash),
            _ => return Err(VerifierError::Form),
        };
        let iterations = iterations.map(str::parse).transpose().map_err(|_| VerifierError::Form)?;
        if iterations.is_some_and(|iterations| !(1..=limits::MAXIMUM_PASSWORD_ITERATIONS).contains(&iterations)) {
            return Err(VerifierError::Iterations);
        }
        let decode = |part: &str| BASE64.decode(part).map_err(|_| VerifierError::Form);
        let salt = decode(salt)?.into_boxed_slice();
        if salt.is_empty() || salt.len() > limits::MAXIMUM_SALT_BYTES {
            return Err(VerifierError::Salt);
        }
        let hash = decode(hash)?.try_into().map_err(|_| VerifierError::Form)?;
        Ok(Self { iterations, salt, hash })
    }
}
