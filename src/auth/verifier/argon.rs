//! argon2id (RFC 9106), written as PHC strings.

use std::str::FromStr;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use subtle::ConstantTimeEq;

use super::{Key, VerifierError, drawn};
use crate::{auth::prepare, limits};

/// A hash with its salt and its costs, all of which are there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2Hash {
    params: Params,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

impl Argon2Hash {
    pub(super) fn of(password: &[u8]) -> Result<Self, VerifierError> {
        let mut salt = [0; limits::SALT_BYTES];
        getrandom::fill(&mut salt).map_err(VerifierError::Random)?;
        let params = Params::new(limits::ARGON2_MEMORY, limits::ARGON2_PASSES, 1, None);
        let params = params.map_err(|_| VerifierError::Cost)?;
        let hash = derive(&params, &salt, Params::DEFAULT_OUTPUT_LEN, password).ok_or(VerifierError::Cost)?;
        Ok(Self { params, salt: salt.into(), hash })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        derive(&self.params, &self.salt, self.hash.len(), password).is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }

    /// Empty where the parts cannot be written, which those that were read or made can.
    pub(super) fn expose(&self) -> String {
        let written = || {
            Some(PasswordHash {
                algorithm: Algorithm::Argon2id.ident(),
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&self.params).ok()?,
                salt: Some(Salt::new(&self.salt).ok()?),
                hash: Some(Output::new(&self.hash).ok()?),
            })
        };
        written().map(|hash| hash.to_string()).unwrap_or_default()
    }

    pub(super) fn decoy(&self, draw: &impl Fn(&[u8]) -> Key) -> Self {
        Self {
            params: self.params.clone(),
            salt: drawn(draw, b"salt", self.salt.len()),
            hash: drawn(draw, b"hash", self.hash.len()),
        }
    }
}

impl FromStr for Argon2Hash {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let read = PasswordHash::new(text).map_err(|_| VerifierError::Form)?;
        let (Some(salt), Some(hash)) = (read.salt, read.hash) else { return Err(VerifierError::Form) };
        let has_version = read.version == Some(Version::V0x13.into());
        if read.algorithm != Algorithm::Argon2id.ident() || !has_version {
            return Err(VerifierError::Form);
        }
        let params = Params::try_from(&read.params).map_err(|_| VerifierError::Form)?;
        // A secret key or associated data, which no password file has.
        if !params.keyid().is_empty() || !params.data().is_empty() {
            return Err(VerifierError::Form);
        }
        if params.m_cost() > limits::MAXIMUM_ARGON2_MEMORY
            || params.t_cost() > limits::MAXIMUM_ARGON2_PASSES
            || params.p_cost() > limits::MAXIMUM_ARGON2_LANES
        {
            return Err(VerifierError::Cost);
        }
        Ok(Self { params, salt: salt.as_ref().into(), hash: hash.as_bytes().into() })
    }
}

fn derive(params: &Params, salt: &[u8], length: usize, password: &[u8]) -> Option<Box<[u8]>> {
    let mut hash = vec![0; length].into_boxed_slice();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into(&prepare::password(password), salt, &mut hash).ok()?;
    Some(hash)
}
