//! Who a client is: found out before it has a session, by a password in CONNECT or an exchange of
//! AUTH packets, and again while it is connected (MQTT 5.0 sections 3.1.3.5, 3.1.3.6 and 4.12).
//!
//! A part of the connection's task. Until a client has proven who it is, it has no session and no
//! will, and holds one of the places for connections in their handshake, for as long as the
//! handshake may take. While it proves it once more everything else goes on, as the client that it
//! was; when that fails, the connection ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{Instant, Sleep, sleep},
};

use super::{
    codec::{Auth, Connect, Frame, Packet, PacketType, ProtocolVersion, ReasonCode, Sender, split},
    connect::read_packet,
    connection::Connection,
    end::End,
};
use crate::{
    auth::{
        Admission, Authenticator, Certificate, CertificateError, Exchange, METHOD, PasswordError, Proven, Rights,
        ScramError, Token, TokenError, User, access::Rules, is_same_name,
    },
    journal::{Clock, SystemClock},
    mqtt::listener::Terms,
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
    /// A certificate that is worth nothing, or not any more.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A token that is good for nothing.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The certificate or the token says one name, and CONNECT another.
    #[error("the user name is not the one of the client's certificate or token")]
    OtherName,
    /// While the client was connected.
    #[error("the account is gone")]
    AccountGone,
}

impl Unauthenticated {
    /// What to tell the client.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Password | Self::Token(_) => ReasonCode::BadUserNameOrPassword,
            Self::Banned => ReasonCode::Banned,
            Self::Method => ReasonCode::BadAuthenticationMethod,
            Self::Missing
            | Self::Scram(_)
            | Self::OtherUser
            | Self::Certificate(_)
            | Self::OtherName
            | Self::AccountGone => ReasonCode::NotAuthorized,
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

impl From<TokenError> for End {
    fn from(error: TokenError) -> Self {
        Self::Unauthenticated(match error {
            TokenError::Banned => Unauthenticated::Banned,
            error => error.into(),
        })
    }
}

impl From<Unauthenticated> for End {
    fn from(why: Unauthenticated) -> Self {
        Self::Unauthenticated(why)
    }
}

/// The certificate that a client has shown, and what was found of it.
pub struct Shown {
    /// See there.
    pub certificate: Result<Certificate, CertificateError>,
    /// Whether the client must have the client identifier that it names.
    pub binds_client_id: bool,
    /// The port's, which may find otherwise later.
    pub terms: Terms,
}

/// Who a connection's client is, and what vouches for it.
#[derive(Default)]
pub struct Identity {
    /// The name of its account; none where its certificate alone lets it in.
    pub user: Option<User>,
    /// Who has the account that it has proven to have, where it had to.
    account: Option<Arc<Authenticator>>,
    certificate: Option<(Certificate, Terms)>,
    /// Whether it can prove itself once more; with a password it cannot.
    has_method: bool,
    /// The exchange that is under way, where it is the client's turn.
    exchange: Option<Exchange>,
    token: Option<Expiring>,
    /// The broker's count of reviews at the last one; none before the first.
    reviewed: Option<u64>,
}

/// A token's end, and what it allows until then.
struct Expiring {
    /// In seconds since 1970.
    at: i64,
    timer: Pin<Box<Sleep>>,
    rights: Option<Rights>,
}

impl Expiring {
    fn new(token: Token) -> Self {
        let timer = Box::pin(sleep(until(token.expires)));
        Self { at: token.expires, timer, rights: token.rights }
    }

    /// Ready when it is over. The system's clock decides, which may be set meanwhile, so it is looked at now and then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let left = until(self.at);
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(Instant::now() + left);
        }
    }
}

/// Time until then, but an hour at most.
fn until(seconds: i64) -> Duration {
    let left = seconds.saturating_mul(1_000_000).saturating_sub(SystemClock.now().get());
    Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(Duration::from_secs(3600))
}

impl Identity {
    /// What its token allows it beside what the rules say, where it says so.
    pub fn rights(&self) -> Option<&Rules> {
        self.token.as_ref()?.rights.as_ref().map(Rights::rules)
    }

    /// Ready when its token is over.
    pub fn poll_expiry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.token.as_mut().map_or(Poll::Pending, |token| token.poll(cx))
    }

    /// Why what has vouched for the client does not any more.
    fn objection(&self) -> Option<Unauthenticated> {
        if self.certificate.as_ref().is_some_and(|(certificate, terms)| terms.has_revoked(certificate)) {
            return Some(CertificateError::Revoked.into());
        }
        let account = self.account.as_ref().zip(self.user.as_ref());
        account.is_some_and(|(accounts, user)| !accounts.has(user)).then_some(Unauthenticated::AccountGone)
    }
}

/// What came of asking a client who it is.
#[derive(Default)]
pub struct Authenticated {
    /// Who it is; none where it need not say.
    pub identity: Option<Box<Identity>>,
    /// Whether it must have the name of its account as client identifier.
    pub binds_client_id: bool,
    /// The server's own proof, which CONNACK carries.
    pub server_final: Option<String>,
}

impl Authenticated {
    /// The client's account, where it has one.
    pub fn user(&self) -> Option<&User> {
        self.identity.as_deref()?.user.as_ref()
    }

    /// What its token allows it, where it says so.
    pub fn rights(&self) -> Option<&Rules> {
        self.identity.as_deref()?.rights()
    }

    /// The method of CONNECT, which CONNACK repeats [MQTT-4.12.0-5].
    pub fn method(&self) -> Option<&'static str> {
        self.server_final.is_some().then_some(METHOD)
    }
}

/// Asks a client who it is, beside the certificate that it has `shown`. `input` is what came behind its CONNECT, and becomes what came behind
/// the last packet of the exchange.
pub(super) async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    peer: Peer,
    connect: &Connect<'_>,
    admission: &Admission,
    shown: Option<Box<Shown>>,
    input: &mut Vec<u8>,
    maximum_packet_size: u32,
) -> Result<Authenticated, End> {
    let (mut identity, binds_client_id) = match shown {
        Some(shown) => named(*shown)?,
        None => (None, false),
    };
    let mut server_final = None;
    match (admission.authenticator(), connect.properties.authentication_method) {
        (None, None) => {}
        (Some(authenticator), None) => {
            let name = identity.as_deref().and_then(|identity| identity.user.clone());
            let is_required = admission.is_required() && name.is_none();
            if let Some(token) = connect.password.filter(|password| authenticator.takes_token(password)) {
                let token = authenticator.check_token(peer, connect.user_name.unwrap_or_default(), token).await?;
                if connect.user_name.is_some_and(|name| !name.is_empty() && !is_same_name(name, &token.user)) {
                    return Err(Unauthenticated::OtherName.into());
                }
                let mut found = of_account(identity, Arc::clone(&token.user))?;
                found.token = Some(Expiring::new(token));
                identity = Some(found);
            } else if let Some(user) = check_password(authenticator, peer, connect, name.as_ref(), is_required).await? {
                identity = Some(proven(identity, user, authenticator, false)?);
            }
        }
        (Some(authenticator), Some(METHOD)) => {
            let found = exchange(io, peer, connect, authenticator, input, maximum_packet_size).await?;
            identity = Some(proven(identity, found.user, authenticator, true)?);
            server_final = Some(found.server_final);
        }
        (_, Some(_)) => return Err(Unauthenticated::Method.into()),
    }
    Ok(Authenticated { identity, binds_client_id, server_final })
}

/// Who a client is by its certificate alone, and whether its client identifier must say so.
fn named(shown: Shown) -> Result<(Option<Box<Identity>>, bool), Unauthenticated> {
    let Shown { certificate, binds_client_id, terms } = shown;
    let certificate = certificate?;
    let user = certificate.name.clone();
    let binds_client_id = binds_client_id && user.is_some();
    Ok((
        Some(Box::new(Identity { user, certificate: Some((certificate, terms)), ..Identity::default() })),
        binds_client_id,
    ))
}

/// A client that has proven to have an account, which is the one that its certificate names, if that names any.
fn proven(
    identity: Option<Box<Identity>>,
    user: User,
    authenticator: &Arc<Authenticator>,
    has_method: bool,
) -> Result<Box<Identity>, Unauthenticated> {
    let mut identity = of_account(identity, user)?;
    (identity.account, identity.has_method) = (Some(Arc::clone(authenticator)), has_method);
    Ok(identity)
}

fn of_account(identity: Option<Box<Identity>>, user: User) -> Result<Box<Identity>, Unauthenticated> {
    let mut identity = identity.unwrap_or_default();
    if identity.user.as_ref().is_some_and(|name| *name != user) {
        return Err(Unauthenticated::OtherName);
    }
    identity.user = Some(user);
    Ok(identity)
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    peer: Peer,
    connect: &Connect<'_>,
    authenticator: &Arc<Authenticator>,
    input: &mut Vec<u8>,
    maximum_packet_size: u32,
) -> Result<Proven, End> {
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
    Ok(authenticator.finish(peer, exchange, client_final(&frame)?)?)
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

/// The account whose password CONNECT has; `named` is the one that a certificate has proven.
async fn check_password(
    authenticator: &Authenticator,
    peer: Peer,
    connect: &Connect<'_>,
    named: Option<&User>,
    is_required: bool,
) -> Result<Option<User>, End> {
    match (connect.user_name, connect.password, named) {
        (None, None, _) if !is_required => Ok(None),
        (None, None, _) => Err(Unauthenticated::Missing.into()),
        (Some(name), Some(password), _) => Ok(Some(authenticator.check_password(peer, name, password).await?)),
        (Some(name), None, Some(user)) if is_same_name(name, user) => Ok(None),
        (Some(_), None, Some(_)) => Err(Unauthenticated::OtherName.into()),
        (Some(_), None, None) | (None, Some(_), _) => Err(PasswordError::Wrong.into()),
    }
}

impl<S> Connection<S> {
    /// Ends the connection where what has vouched for its client does not any more. Asks once after each
    /// [`Broker::review`](super::Broker::review), and once at the beginning, for what has happened during CONNECT.
    pub(super) fn review(&mut self) -> Result<(), End> {
        let Some(identity) = self.identity.as_deref_mut() else { return Ok(()) };
        let review = self.broker.reviews();
        if identity.reviewed != Some(review) {
            identity.reviewed = Some(review);
            if let Some(why) = identity.objection() {
                return Err(why.into());
            }
        }
        Ok(())
    }

    /// AUTH: the client proves who it is once more (section 4.12.1).
    pub(super) fn re_authenticate(&mut self, auth: &Auth<'_>) -> Result<(), End> {
        let forbidden = |why| Err(End::Forbidden(ReasonCode::ProtocolError, why));
        let identity = self.identity.as_deref_mut().filter(|identity| identity.has_method);
        let Some((account, user, under_way)) = identity
            .and_then(|Identity { account, user, exchange, .. }| Some((account.as_ref()?, user.as_ref()?, exchange)))
        else {
            return forbidden("AUTH without an authentication method in CONNECT [MQTT-4.12.0-7]");
        };
        check_method(auth)?;
        let data = auth.authentication_data.unwrap_or_default();
        let (reason, answer) = match (auth.reason, under_way.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let (exchange, server_first) = account.begin(self.presence.peer, data)?;
                *under_way = Some(exchange);
                (ReasonCode::ContinueAuthentication, server_first)
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let proven = account.finish(self.presence.peer, exchange, data)?;
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
