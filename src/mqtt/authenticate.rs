//! Who a client is: found out before it has a session, by a password in CONNECT or an exchange of
//! AUTH packets, and again while it is connected (MQTT 5.0 sections 3.1.3.5, 3.1.3.6 and 4.12).
//!
//! A part of the connection's task. Until a client has proven who it is, it has no session and no
//! will, and holds one of the places for connections in their handshake, for as long as the
//! handshake may take. While it proves it once more everything else goes on, as the client that it
//! was; when that fails, the connection ends.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    codec::{Auth, Connect, Frame, Packet, PacketType, ProtocolVersion, ReasonCode, Sender, split},
    connect::read_packet,
    connection::Connection,
    end::End,
};
use crate::{
    auth::{Admission, Authenticator, Exchange, METHOD, PasswordError, ScramError, User},
    types::Peer,
};

/// Why a client is not who it says it is, or does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// Nothing where something must be.
    #[error("neither a user name with its password nor an authentication method")]
    Missing,
    /// A wrong password, or none, or a name that nobody has.
    #[error("the user name or password is wrong")]
    Password,
    /// Too many failures before; nothing was looked at.
    #[error("too many failed attempts; try again later")]
    Banned,
    /// A method that is not offered here.
    #[error("the authentication method is not offered")]
    Method,
    /// An exchange that proved nothing.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// Proof of another account than the connection's.
    #[error("re-authentication as another user")]
    OtherUser,
}

impl Unauthenticated {
    /// What to tell the client.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Password => ReasonCode::BadUserNameOrPassword,
            Self::Banned => ReasonCode::Banned,
            Self::Method => ReasonCode::BadAuthenticationMethod,
            Self::Missing | Self::Scram(_) | Self::OtherUser => ReasonCode::NotAuthorized,
        }
    }
}

impl From<ScramError> for End {
    fn from(error: ScramError) -> Self {
        Self::Unauthenticated(match error {
            ScramError::Banned => Unauthenticated::Banned,
            error => error.into(),
        })
    }
}

impl From<PasswordError> for End {
    fn from(error: PasswordError) -> Self {
        Self::Unauthenticated(match error {
            PasswordError::Wrong => Unauthenticated::Password,
            PasswordError::Banned => Unauthenticated::Banned,
        })
    }
}

/// Who a connection's client is.
#[derive(Debug)]
pub struct Identity {
    /// The name of its account.
    pub user: User,
    /// How it can prove that once more; with a password it cannot.
    again: Option<Again>,
}

#[derive(Debug)]
struct Again {
    authenticator: Arc<Authenticator>,
    /// Under way, and the client's turn.
    exchange: Option<Exchange>,
}

/// What came of asking a client who it is.
#[derive(Debug, Default)]
pub struct Authenticated {
    /// Who it is; none where it need not say.
    pub identity: Option<Box<Identity>>,
    /// The server's own proof, which CONNACK carries.
    pub server_final: Option<String>,
}

impl Authenticated {
    /// The method of CONNECT, which CONNACK repeats [MQTT-4.12.0-5].
    pub fn method(&self) -> Option<&'static str> {
        self.server_final.is_some().then_some(METHOD)
    }
}

/// Asks a client who it is. `input` is what came behind its CONNECT, and becomes what came behind
/// the last packet of the exchange.
pub(super) async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    peer: Peer,
    connect: &Connect<'_>,
    admission: &Admission,
    input: &mut Vec<u8>,
    maximum_packet_size: u32,
) -> Result<Authenticated, End> {
    match (admission.authenticator(), connect.properties.authentication_method) {
        (None, None) => Ok(Authenticated::default()),
        (Some(authenticator), None) => check_password(authenticator, peer, connect, admission.is_required()).await,
        (Some(authenticator), Some(METHOD)) => {
            exchange(io, peer, connect, authenticator, input, maximum_packet_size).await
        }
        (_, Some(_)) => Err(End::Unauthenticated(Unauthenticated::Method)),
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    peer: Peer,
    connect: &Connect<'_>,
    authenticator: &Arc<Authenticator>,
    input: &mut Vec<u8>,
    maximum_packet_size: u32,
) -> Result<Authenticated, End> {
    let (exchange, server_first) =
        authenticator.begin(peer, connect.properties.authentication_data.unwrap_or_default())?;
    let mut out = Vec::new();
    let takes = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
    write_step(ReasonCode::ContinueAuthentication, &server_first, takes, &mut out)?;
    io.write_all(&out).await?;
    io.flush().await?;
    let (packet, rest) = read_packet(io, std::mem::take(input), maximum_packet_size).await?;
    *input = rest;
    let frame = split(&packet, maximum_packet_size)?.ok_or(End::Closed)?;
    let proven = authenticator.finish(peer, exchange, client_final(&frame)?)?;
    let again = Some(Again { authenticator: Arc::clone(authenticator), exchange: None });
    let identity = Some(Box::new(Identity { user: proven.user, again }));
    Ok(Authenticated { identity, server_final: Some(proven.server_final) })
}

/// The data of the one packet that goes on with an exchange.
fn client_final<'a>(frame: &Frame<'a>) -> Result<&'a [u8], End> {
    if !matches!(frame.packet_type(), PacketType::Auth | PacketType::Disconnect) {
        return Err(End::Forbidden(
            ReasonCode::ProtocolError,
            "a packet other than AUTH and DISCONNECT before CONNACK [MQTT-3.1.2-30]",
        ));
    }
    match Packet::decode(frame, ProtocolVersion::V5, Sender::Client)? {
        Packet::Auth(auth) => {
            check_method(&auth)?;
            if auth.reason != ReasonCode::ContinueAuthentication {
                return Err(End::Forbidden(
                    ReasonCode::ProtocolError,
                    "an AUTH that does not go on with the authentication [MQTT-4.12.0-3]",
                ));
            }
            Ok(auth.authentication_data.unwrap_or_default())
        }
        _ => Err(End::Disconnected),
    }
}

async fn check_password(
    authenticator: &Authenticator,
    peer: Peer,
    connect: &Connect<'_>,
    is_required: bool,
) -> Result<Authenticated, End> {
    let user = match (connect.user_name, connect.password) {
        (None, None) if !is_required => return Ok(Authenticated::default()),
        (None, None) => return Err(End::Unauthenticated(Unauthenticated::Missing)),
        (Some(name), Some(password)) => authenticator.check_password(peer, name, password).await?,
        (Some(_), None) | (None, Some(_)) => return Err(PasswordError::Wrong.into()),
    };
    Ok(Authenticated { identity: Some(Box::new(Identity { user, again: None })), server_final: None })
}

impl<S> Connection<S> {
    /// AUTH: the client proves who it is once more (section 4.12.1).
    pub(super) fn re_authenticate(&mut self, auth: &Auth<'_>) -> Result<(), End> {
        let forbidden = |why| Err(End::Forbidden(ReasonCode::ProtocolError, why));
        let Some((user, again)) =
            self.identity.as_deref_mut().and_then(|Identity { user, again }| Some((user, again.as_mut()?)))
        else {
            return forbidden("AUTH without an authentication method in CONNECT [MQTT-4.12.0-7]");
        };
        check_method(auth)?;
        let data = auth.authentication_data.unwrap_or_default();
        let (reason, answer) = match (auth.reason, again.exchange.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let (exchange, server_first) = again.authenticator.begin(self.presence.peer, data)?;
                again.exchange = Some(exchange);
                (ReasonCode::ContinueAuthentication, server_first)
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let proven = again.authenticator.finish(self.presence.peer, exchange, data)?;
                if proven.user != *user {
                    return Err(End::Unauthenticated(Unauthenticated::OtherUser));
                }
                (ReasonCode::Success, proven.server_final)
            }
            (_, Some(_)) => return forbidden("an AUTH that begins a re-authentication while one is under way"),
            (_, None) => return forbidden("an AUTH that goes on with a re-authentication that has not begun"),
        };
        write_step(reason, &answer, self.agreement.maximum_packet_size, &mut self.out)
    }
}

/// All packets of an exchange name the method of CONNECT.
fn check_method(auth: &Auth<'_>) -> Result<(), End> {
    if auth.authentication_method == Some(METHOD) {
        return Ok(());
    }
    Err(End::Forbidden(ReasonCode::ProtocolError, "an AUTH with another method than CONNECT [MQTT-4.12.0-5]"))
}

/// Appends the AUTH of a step, where the client takes one of that size [MQTT-3.15.2-2].
fn write_step(reason: ReasonCode, data: &str, takes: u32, out: &mut Vec<u8>) -> Result<(), End> {
    let auth = Auth { authentication_data: Some(data.as_bytes()), ..Auth::new(reason, Some(METHOD)) };
    Packet::Auth(auth)
        .encode(ProtocolVersion::V5, takes, out)
        .map_err(|_| End::Forbidden(ReasonCode::PacketTooLarge, "the answer is larger than the client takes"))
}
