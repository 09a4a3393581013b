//! The keys that tokens are signed with: JSON Web Keys (RFC 7517, 7518, 8037), or public keys in PEM form.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;
use serde_json::Value;
use x509_parser::prelude::FromDer;
use x509_parser::{public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::{TokenError, claims::Signed};
use crate::limits;

/// Why a file has no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// There is no key in it that can be used.
    #[error("{} holds no public key that is taken: RSA of 2048 bits and more, P-256, P-384, Ed25519; in PEM form or as a JWK set", .0.display())]
    None(PathBuf),
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    /// Its name, where it has one.
    id: Option<String>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// How a signature of one algorithm is checked.
enum Check {
    Rsa(&'static RsaParameters),
    Point(&'static dyn VerificationAlgorithm),
}

impl Material {
    /// What an algorithm is with this kind of key, if it is one.
    fn check(&self, algorithm: &str) -> Option<Check> {
        Some(match (self, algorithm) {
            (Self::Rsa { .. }, "RS256") => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Self::Rsa { .. }, "RS384") => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Self::Rsa { .. }, "RS512") => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Self::P256(_), "ES256") => Check::Point(&signature::ECDSA_P256_SHA256_FIXED),
            (Self::P384(_), "ES384") => Check::Point(&signature::ECDSA_P384_SHA384_FIXED),
            (Self::Ed25519(_), "EdDSA" | "Ed25519") => Check::Point(&signature::ED25519),
            _ => return None,
        })
    }
}

impl Key {
    fn is_for(&self, algorithm: &str) -> bool {
        self.algorithm.as_deref().is_none_or(|only| only == algorithm) && self.material.check(algorithm).is_some()
    }

    fn verifies(&self, token: &Signed<'_>) -> bool {
        let verified = match (&self.material, self.material.check(&token.header.alg)) {
            (Material::Rsa { modulus, exponent }, Some(Check::Rsa(parameters))) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, token.message, &token.signature)
            }
            (
                Material::P256(point) | Material::P384(point) | Material::Ed25519(point),
                Some(Check::Point(algorithm)),
            ) => UnparsedPublicKey::new(algorithm, point).verify(token.message, &token.signature),
            _ => return false,
        };
        verified.is_ok()
    }
}

impl Keys {
    /// Keys of a JWK set; those that are not taken are left out, whatever else it is that they are.
    #[must_use]
    pub fn of_set(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).ok()?;
        Some(Self(set.keys.iter().filter_map(of_jwk).take(limits::TOKEN_KEYS).collect()))
    }

    /// Public keys in PEM form.
    fn of_pem(pem: &[u8]) -> Self {
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem).filter_map(Result::ok);
        Self(keys.filter_map(|key| of_info(&key)).take(limits::TOKEN_KEYS).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that may have signed a token.
    fn find(&self, token: &Signed<'_>) -> Result<impl Iterator<Item = &Key>, TokenError> {
        let (id, algorithm) = (token.header.kid.as_deref(), token.header.alg.as_str());
        if !matches!(algorithm, "RS256" | "RS384" | "RS512" | "ES256" | "ES384" | "EdDSA" | "Ed25519") {
            return Err(TokenError::Algorithm);
        }
        let is_named = move |key: &&Key| match (id, key.id.as_deref()) {
            (Some(id), Some(known)) => id == known,
            _ => true,
        };
        let mut named = self.0.iter().filter(is_named).peekable();
        if named.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        let mut fitting = named.filter(move |key| key.is_for(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::Algorithm);
        }
        Ok(fitting)
    }

    /// Whether the one that a token names is not among them.
    pub(super) fn lack(&self, token: &Signed<'_>) -> bool {
        matches!(self.find(token), Err(TokenError::UnknownKey))
    }

    /// Whether one of them has signed it.
    pub(super) fn verify(&self, token: &Signed<'_>) -> Result<(), TokenError> {
        if self.find(token)?.any(|key| key.verifies(token)) { Ok(()) } else { Err(TokenError::Signature) }
    }
}

fn of_jwk(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| BASE64URL.decode(text(name)?).ok();
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let point = |length: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        // Uncompressed (SEC 1 section 2.3.3).
        (x.len() == length && y.len() == length).then(|| [&[4], &x[..], &y[..]].concat())
    };
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?),
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), material })
}

fn of_info(der: &[u8]) -> Option<Key> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let material = match info.parsed().ok()? {
        // ring takes no zero in front, which tells a positive number in ASN.1.
        PublicKey::RSA(key) => {
            let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
            Material::Rsa { modulus: bare(key.modulus), exponent: bare(key.exponent) }
        }
        PublicKey::EC(point) if point.data().len() == 65 => Material::P256(point.data().to_vec()),
        PublicKey::EC(point) if point.data().len() == 97 => Material::P384(point.data().to_vec()),
        PublicKey::Unknown(key) if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
            Material::Ed25519(key.to_vec())
        }
        _ => return None,
    };
    Some(Key { id: None, algorithm: None, material })
}

/// The keys of a file.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn read_keys(file: &Path) -> Result<Keys, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable { file: file.to_owned(), error };
    let content = fs::read(file).map_err(unreadable)?;
    let keys = Keys::of_set(&content).unwrap_or_else(|| Keys::of_pem(&content));
    if keys.is_empty() { Err(KeyFileError::None(file.to_owned())) } else { Ok(keys) }
}
