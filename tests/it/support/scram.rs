//! A client's side of SCRAM-SHA-256 (RFC 5802), and accounts made by the program itself; shares no
//! code with what it tests.

use std::{num::NonZeroU32, path::PathBuf, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use tempfile::TempDir;

use super::{
    bridge::{BINARY, Setup},
    process::Process,
    properties::{id, string},
    raw_mqtt::{Connect, Packet, Version, counted, packet},
    scratch,
};

/// The method's name.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Reason codes of AUTH.
pub mod code {
    pub const SUCCESS: u8 = 0x00;
    pub const CONTINUE: u8 = 0x18;
    pub const RE_AUTHENTICATE: u8 = 0x19;
}

/// A password file with an account for each name and password.
pub struct PasswordFile {
    _dir: TempDir,
    pub path: PathBuf,
}

impl PasswordFile {
    pub async fn new(accounts: &[(&str, &str)]) -> Self {
        let dir = scratch();
        let path = dir.path().join("passwords");
        let file = Self { _dir: dir, path };
        for (name, password) in accounts {
            file.set(name, password).await;
        }
        file
    }

    /// Adds an account that SCRAM can ask for, or changes it.
    pub async fn set(&self, name: &str, password: &str) {
        self.passwd(&[name, "--scram"], password).await;
    }

    /// Runs `passwd` with these arguments behind the file.
    pub async fn passwd(&self, arguments: &[&str], password: &str) {
        let mut command = Command::new(BINARY);
        command.arg("passwd").arg(&self.path).args(arguments);
        let mut process = Process::start(command);
        process.say(password);
        process.success().await;
    }

    /// A bridge that knows the accounts and lets clients fail as often as they like.
    pub fn setup(&self) -> Setup {
        Setup::default().config(&format!("[auth]\npassword_file = {:?}\nfailed_attempts = 0", self.path))
    }
}

/// An exchange.
pub struct Scram {
    first: String,
    password: String,
    /// What the server must answer in the end.
    pub expected: String,
}

impl Scram {
    pub fn new(user: &str, password: &str, nonce: &str) -> Self {
        Self { first: format!("n={user},r={nonce}"), password: password.to_owned(), expected: String::new() }
    }

    /// The first message.
    pub fn client_first(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// The last message, which answers the server's first.
    pub fn client_final(&mut self, server_first: &str) -> String {
        let field = |name: &str| server_first.split(',').find_map(|field| field.strip_prefix(name)).unwrap();
        let salt = STANDARD.decode(field("s=")).unwrap();
        let iterations: NonZeroU32 = field("i=").parse().unwrap();
        assert!(field("r=").starts_with(self.first.split_once("r=").unwrap().1), "the server adds to the nonce");
        let without_proof = format!("c=biws,r={}", field("r="));
        let message = format!("{},{server_first},{without_proof}", self.first);
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut salted);
        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(digest::digest(&digest::SHA256, &client_key).as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        self.expected = format!("v={}", STANDARD.encode(sign(&sign(&salted, b"Server Key"), message.as_bytes())));
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }
}

/// The properties of a step.
pub fn step(method: &str, data: impl AsRef<[u8]>) -> Vec<u8> {
    [string(id::AUTHENTICATION_METHOD, method), string(id::AUTHENTICATION_DATA, data)].concat()
}

/// An AUTH.
pub fn auth(code: u8, data: impl AsRef<[u8]>) -> Vec<u8> {
    auth_with(code, &step(METHOD, data))
}

/// An AUTH with any properties.
pub fn auth_with(code: u8, properties: &[u8]) -> Vec<u8> {
    packet(0xf0, &[&[code], &counted(properties)[..]].concat())
}

/// A CONNECT that begins an exchange.
pub fn connect(id: &str, data: impl AsRef<[u8]>) -> Connect {
    Connect { properties: step(METHOD, data), ..Connect::new(Version::V5, id) }
}

/// The authentication data of a CONNACK or an AUTH.
pub fn data(packet: &Packet) -> String {
    String::from_utf8(packet.properties().get(id::AUTHENTICATION_DATA).unwrap()[2..].to_vec()).unwrap()
}
