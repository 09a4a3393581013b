//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
//!
//! Two messages each: client-first and server-first bring nonces, salt and iterations; client-final
//! proves that the client knows the password, server-final that the server knows its verifier. The
//! proof covers both nonces, so neither side's messages are worth anything a second time.
//!
//! A name that nobody has, or whose account has no keys for this method, goes all the way and fails at the proof.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use subtle::ConstantTimeEq;

use super::{
    Accounts, User,
    accounts::FoundKeys,
    prepare,
    verifier::{Key, hmac},
};
use crate::limits;

/// The method's name: of SASL, and in an Authentication Method property.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Why an exchange came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not a message of this step.
    #[error("not a message of SCRAM-SHA-256 (RFC 5802 section 7)")]
    Message,
    /// The client asks for SCRAM-SHA-256-PLUS, which was not offered.
    #[error("channel binding is not offered (RFC 5802 section 6)")]
    ChannelBinding,
    /// The client's final message is not about the same channel binding as its first.
    #[error("the channel binding is not what the exchange began with (RFC 5802 section 6)")]
    OtherChannelBinding,
    /// An extension that the client insists on.
    #[error("a mandatory extension is not known (RFC 5802 section 5.1)")]
    Extension,
    /// The client wants to act as somebody else.
    #[error("an authorization identity that is not the user's own")]
    AuthorizationIdentity,
    /// The client's final message answers another challenge.
    #[error("the nonce is not the one of this exchange (RFC 5802 section 5.1)")]
    Nonce,
    /// A wrong password, or a name that nobody has.
    #[error("the user name or password is wrong")]
    Proof,
    /// The client, or the name, has failed too often to be heard now.
    #[error("too many failed attempts")]
    Banned,
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random,
}

/// An exchange that waits for the client's final message.
#[derive(Debug)]
pub struct Exchange {
    found: FoundKeys,
    /// The name that is to be proven, in the form that accounts have.
    name: Box<str>,
    /// The start of the client's first message, which its final one must repeat.
    gs2_header: Box<str>,
    nonce: Box<str>,
    /// What the proof covers, up to the client's final message.
    messages: Box<str>,
}

/// What a client has proven, and the server's answer that proves the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Who the client is.
    pub user: User,
    /// To be sent.
    pub server_final: String,
}

impl Exchange {
    pub(super) fn begin(accounts: &Accounts, client_first: &[u8]) -> Result<(Self, String), ScramError> {
        let mut random = [0; limits::NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|_| ScramError::Random)?;
        Self::begin_with_nonce(accounts, client_first, &BASE64.encode(random))
    }

    /// As [`Exchange::begin`], with the server's part of the nonce.
    pub(super) fn begin_with_nonce(
        accounts: &Accounts,
        client_first: &[u8],
        server_nonce: &str,
    ) -> Result<(Self, String), ScramError> {
        let first = ClientFirst::parse(client_first)?;
        let found = accounts.find_keys(&first.name);
        let nonce = format!("{}{server_nonce}", first.nonce);
        let (salt, iterations) = (BASE64.encode(&found.keys.salt), found.keys.iterations);
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        let exchange = Self {
            found,
            name: prepare::name(&first.name).as_deref().unwrap_or(&first.name).into(),
            gs2_header: first.gs2_header.into(),
            nonce: nonce.into(),
            messages: format!("{},{server_first},", first.bare).into(),
        };
        Ok((exchange, server_first))
    }

    /// The name that is to be proven.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the client's final message.
    ///
    /// # Errors
    /// When it proves nothing.
    pub(super) fn finish(self, client_final: &[u8]) -> Result<Proven, ScramError> {
        let last = ClientFinal::parse(client_final)?;
        if last.gs2_header != self.gs2_header.as_bytes() {
            return Err(ScramError::OtherChannelBinding);
        }
        if !bool::from(last.nonce.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(ScramError::Nonce);
        }
        let FoundKeys { user, keys } = self.found;
        let message = [self.messages.as_bytes(), last.without_proof.as_bytes()];
        let mut client_key = hmac(&keys.stored_key, &message);
        client_key.iter_mut().zip(last.proof).for_each(|(signature, proof)| *signature ^= proof);
        // Also for a decoy, which takes the same time.
        let is_proof = keys.proves(&client_key);
        let user = user.filter(|_| is_proof).ok_or(ScramError::Proof)?;
        let server_final = format!("v={}", BASE64.encode(hmac(&keys.server_key, &message)));
        Ok(Proven { user, server_final })
    }
}

/// `gs2-header client-first-message-bare`.
struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    name: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = str::from_utf8(message).map_err(|_| ScramError::Message)?;
        let (flag, rest) = text.split_once(',').ok_or(ScramError::Message)?;
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Message)?;
        match flag {
            // `y`: the client would bind, and takes it that the server would not. So it is.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Message),
        }
        let gs2_header = text.strip_suffix(bare).ok_or(ScramError::Message)?;
        let mut attributes = bare.split(',');
        let name = match attributes.next().and_then(|attribute| attribute.split_once('=')) {
            Some(("n", name)) => decode_name(name)?,
            Some(("m", _)) => return Err(ScramError::Extension),
            _ => return Err(ScramError::Message),
        };
        if !identity.is_empty() {
            let identity = decode_name(identity.strip_prefix("a=").ok_or(ScramError::Message)?)?;
            if identity != name {
                return Err(ScramError::AuthorizationIdentity);
            }
        }
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r=")).ok_or(ScramError::Message)?;
        let is_printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if nonce.is_empty() || nonce.len() > limits::MAXIMUM_CLIENT_NONCE_BYTES || !is_printable {
            return Err(ScramError::Message);
        }
        check_extensions(attributes)?;
        Ok(Self { gs2_header, bare, name, nonce })
    }
}

/// `client-final-message-without-proof "," proof`.
struct ClientFinal<'a> {
    without_proof: &'a str,
    gs2_header: Vec<u8>,
    nonce: &'a str,
    proof: Key,
}

impl<'a> ClientFinal<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = str::from_utf8(message).map_err(|_| ScramError::Message)?;
        let decode = |text: &str| BASE64.decode(text).map_err(|_| ScramError::Message);
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Message)?;
        let proof = decode(proof)?.try_into().map_err(|_| ScramError::Message)?;
        let mut attributes = without_proof.split(',');
        let mut attribute =
            |name| attributes.next().and_then(|attribute| attribute.strip_prefix(name)).ok_or(ScramError::Message);
        let gs2_header = decode(attribute("c=")?)?;
        let nonce = attribute("r=")?;
        check_extensions(attributes)?;
        Ok(Self { without_proof, gs2_header, nonce, proof })
    }
}

/// Extensions are `letter=value`; those that are not known do no harm, but for `m`.
fn check_extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), ScramError> {
    attributes.try_for_each(|attribute| match attribute.as_bytes() {
        [b'm', b'=', ..] => Err(ScramError::Extension),
        [letter, b'=', _, ..] if letter.is_ascii_alphabetic() => Ok(()),
        _ => Err(ScramError::Message),
    })
}

/// Takes `=2C` and `=3D` back to the characters that a name cannot have in a message.
fn decode_name(encoded: &str) -> Result<String, ScramError> {
    let mut parts = encoded.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(ScramError::Message),
        };
        name.push(character);
        name.push_str(rest);
    }
    if name.is_empty() { Err(ScramError::Message) } else { Ok(name) }
}
