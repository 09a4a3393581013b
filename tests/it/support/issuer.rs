//! An issuer of tokens: keys, tokens signed with them, and its JWK set over HTTP; shares no code with what it tests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{process::Process, scratch};

/// A key pair of one of the kinds.
pub enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub fn p256() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap())
    }

    pub fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub async fn rsa() -> Self {
        let dir = scratch();
        let file = dir.path().join("rsa.der");
        let mut command = std::process::Command::new("openssl");
        command.args(["genpkey", "-algorithm", "RSA", "-outform", "DER", "-out"]).arg(&file);
        Process::start(command).success().await;
        let key = std::fs::read(file).unwrap();
        // What the program writes depends on its version.
        Self::Rsa(RsaKeyPair::from_pkcs8(&key).or_else(|_| RsaKeyPair::from_der(&key)).unwrap())
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa(_) => "RS256",
        }
    }

    /// The public key as a JWK.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::P256(key) => {
                let [x, y] = [1..33, 33..65].map(|part| BASE64URL.encode(&key.public_key().as_ref()[part]));
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y })
            }
            Self::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": BASE64URL.encode(key.public_key()) })
            }
            Self::Rsa(key) => {
                let key = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                let [n, e] = [key.n, key.e].map(|number| BASE64URL.encode(number));
                json!({ "kty": "RSA", "alg": "RS256", "kid": kid, "n": n, "e": e })
            }
        }
    }

    /// A token with these claims.
    pub fn sign(&self, kid: &str, claims: &Value) -> String {
        let message = message(&json!({ "alg": self.algorithm(), "typ": "JWT", "kid": kid }), claims);
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let signature = match self {
            Self::P256(key) => key.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(bytes).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", BASE64URL.encode(signature))
    }
}

/// The part of a token that is signed.
pub fn message(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| BASE64URL.encode(part.to_string()));
    format!("{header}.{claims}")
}

/// Seconds since 1970, and so many more.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() as i64 + seconds
}

/// An HTTP server with a JWK set.
pub struct Issuer {
    pub url: String,
    /// What it answers; none: it closes the connection.
    set: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    pub async fn new(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let issuer = Self { url, set: Arc::default(), asked: Arc::default() };
        issuer.publish(keys);
        let (set, asked) = (Arc::clone(&issuer.set), Arc::clone(&issuer.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = set.lock().clone();
                let Some(body) = answer else { continue };
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                assert!(request[..read].starts_with(b"GET /jwks.json HTTP/1.1\r\n"));
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                drop(stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await);
            }
        });
        issuer
    }

    /// Has other keys from now on.
    pub fn publish(&self, keys: &[Value]) {
        *self.set.lock() = Some(json!({ "keys": keys }).to_string());
    }

    /// Answers nothing any more.
    pub fn go_down(&self) {
        *self.set.lock() = None;
    }

    /// How often it has been asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
