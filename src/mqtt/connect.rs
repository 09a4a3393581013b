//! From the first byte to CONNACK (MQTT 5.0 section 3.1 and 3.2).

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{
    Broker,
    acknowledge::JOURNAL_FULL,
    announce::{Announced, Arrival, Untold, details},
    authenticate::{Authenticated, Identity, Shown, authenticate},
    codec::{Connack, ConnackProperties, Connect, Packet, ProtocolVersion, ReasonCode, Sender, refusal, split},
    connection::{Agreement, Connection, Introduction},
    end::End,
    farewell::read_away,
    ledger::change::Change,
    listener::Handshake,
    profile::Profile,
    receive::is_within_limits,
    session::OwnedSession,
    system,
    traffic::Meter,
    will::Will,
};
use crate::{
    auth::{Admission, User, access::Who},
    journal::{AppendError, Batch, BatchBuilder, Outcome},
    limits,
    types::{ClientId, Signal},
};

/// Bytes read at a time before CONNECT is whole.
const READ_BYTES: usize = 1024;

impl Broker {
    /// Takes one client from its first byte of MQTT to its CONNACK, after which it is to be served; none where
    /// it is not let in. `handshake` is its place among those that have not been, `admission` what lets it in, `shown` its certificate.
    pub(super) async fn welcome_client<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        mut io: S,
        arrival: Arrival,
        profile: Arc<Profile>,
        handshake: Handshake,
        admission: Admission,
        shown: Option<Box<Shown>>,
    ) -> Option<Box<Connection<S>>> {
        self.statistics.accepted.add(1);
        let peer = arrival.peer;
        match self.open(&mut io, arrival, &profile, handshake, admission, shown).await {
            Ok(Opened { owned, introduction, announced, agreement, will, identity, input, out }) => {
                return Some(Box::new(Connection::new(
                    self,
                    profile,
                    owned,
                    introduction,
                    announced,
                    agreement,
                    will,
                    identity,
                    peer,
                    io,
                    input,
                    out,
                )));
            }
            Err(end) if end.is_protocol_error() => {
                self.statistics.note_refusal(&end);
                tracing::warn!(%peer, reason = %end, "refused a connection");
            }
            Err(end) => {
                if matches!(end, End::Unauthenticated(_)) {
                    self.statistics.note_refusal(&end);
                }
                tracing::debug!(%peer, reason = %end, "no connection came about");
            }
        }
        None
    }

    /// Only what comes before a session has a time limit: once it is owned, what remains depends on no
    /// peer and must not be cut off in the middle.
    async fn open<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        io: &mut S,
        arrival: Arrival,
        profile: &Profile,
        handshake: Handshake,
        admission: Admission,
        shown: Option<Box<Shown>>,
    ) -> Result<Opened, End> {
        let peer = arrival.peer;
        let deadline = Instant::now() + self.settings.handshake_timeout;
        let maximum = profile.maximum_packet_size.min(limits::MAXIMUM_CONNECT_BYTES);
        let reading = read_packet(io, Vec::new(), maximum);
        let (packet, mut input) = self.in_time(deadline, &handshake, reading).await?;
        Meter::default().pass(&packet, &self.statistics.incoming);
        let frame = split(&packet, profile.maximum_packet_size)?.ok_or(End::Closed)?;
        let connect = match Packet::decode(&frame, ProtocolVersion::V5, Sender::Client) {
            Ok(Packet::Connect(connect)) => connect,
            Ok(_) => {
                return Err(End::Forbidden(
                    ReasonCode::ProtocolError,
                    "the first packet is not a CONNECT [MQTT-3.1.0-1]",
                ));
            }
            Err(error) => {
                if let Some((version, reason)) = refusal(&frame, error) {
                    let why = error.to_string();
                    self.within(deadline, &handshake, refuse(io, version, u32::MAX, reason, &why)).await;
                }
                return Err(error.into());
            }
        };
        let takes = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
        let authentication = authenticate(io, peer, &connect, &admission, shown, &mut input, maximum);
        let authenticated = match self.in_time(deadline, &handshake, authentication).await {
            Ok(authenticated) => authenticated,
            Err(end) => {
                let is_said = end.is_protocol_error() || matches!(end, End::Unauthenticated(_));
                if let Some(reason) = end.reason().filter(|_| is_said) {
                    let why = end.to_string();
                    self.within(deadline, &handshake, refuse(io, connect.version, takes, reason, &why)).await;
                }
                return Err(end);
            }
        };
        drop(handshake);
        match self.welcome(&connect, profile, &authenticated, arrival).await {
            Ok((Begun { owned, introduction, announced, resumed }, agreement, out)) => {
                if resumed || authenticated.identity.is_some() {
                    self.known.note(peer);
                }
                let will = connect.will.as_ref().map(|will| Box::new(Will::from(will)));
                let identity = authenticated.identity;
                Ok(Opened { owned, introduction, announced, agreement, will, identity, input, out })
            }
            Err((reason, why)) => {
                refuse(io, connect.version, takes, reason, why).await;
                Err(End::Forbidden(reason, why))
            }
        }
    }

    /// A step of a client that has not been let in, as long as there is time and room for it.
    async fn in_time<T>(
        &self,
        deadline: Instant,
        handshake: &Handshake,
        step: impl Future<Output = Result<T, End>>,
    ) -> Result<T, End> {
        let step = handshake.run(timeout_at(deadline, step));
        let Some(done) = self.background.run_until_cancelled(step).await else { return Err(End::ShuttingDown) };
        let Some(done) = done else { return Err(End::PushedOut) };
        done.unwrap_or(Err(End::Io(io::ErrorKind::TimedOut.into())))
    }

    /// A step that may be cut short, for nothing follows it.
    async fn within(&self, deadline: Instant, handshake: &Handshake, step: impl Future<Output = ()>) {
        let step = handshake.run(timeout_at(deadline, step));
        self.background.run_until_cancelled(step).await;
    }

    /// Owns the session that a CONNECT asks for; the CONNACK says so.
    async fn welcome(
        &self,
        connect: &Connect<'_>,
        profile: &Profile,
        authenticated: &Authenticated,
        arrival: Arrival,
    ) -> Result<(Begun, Agreement, Vec<u8>), (ReasonCode, &'static str)> {
        self.admit(connect, profile)?;
        let user = authenticated.user();
        let (client_id, assigned) = client_id(connect, user.filter(|_| authenticated.binds_client_id))?;
        if let Some(will) = &connect.will
            && !self.access.may_publish(
                Who { user: user.map(|user| &**user), client_id: client_id.as_str(), rights: authenticated.rights() },
                will.topic,
            )
        {
            self.statistics.may_not_have_will.add(1);
            return Err((ReasonCode::NotAuthorized, "no access rule allows the will"));
        }
        let agreement = agree(connect, profile);
        let expiry = self.session_expiry(connect);
        let mut connack = connack(connect, profile, expiry, assigned.then_some(&client_id));
        connack.properties.authentication_method = authenticated.method();
        let told = profile.response_information.as_ref().filter(|_| connect.properties.request_response_information);
        let told = told.and_then(|information| information.of(client_id.as_str(), user.map(|user| &**user)));
        connack.properties.response_information = told.as_deref();
        connack.properties.authentication_data = authenticated.server_final.as_deref().map(str::as_bytes);
        let mut out = Vec::new();
        connack.encode(connect.version, &mut out);
        // Before any session is touched [MQTT-3.1.2-24].
        if out.len() > agreement.maximum_packet_size as usize {
            return Err((ReasonCode::PacketTooLarge, "the answer is larger than the client takes"));
        }
        let Some(owned) = self.sessions.own(&client_id, user).await else {
            self.statistics.foreign_sessions.add(1);
            return Err((
                ReasonCode::ClientIdentifierNotValid,
                "the session of this client identifier belongs to another account",
            ));
        };
        // A name that was made up for a client is no device's.
        let is_device = !assigned && self.settings.devices.device(client_id.as_str()).is_some();
        let announce = |resumed| {
            let keep_alive = server_keep_alive(connect, profile).unwrap_or(connect.keep_alive);
            let user = user.map(|user| &**user);
            is_device.then(|| Untold::new(details(connect, keep_alive, expiry, resumed, user, arrival)))
        };
        let begun = self.begin_session(owned, user, connect, expiry, agreement.receive_maximum, announce).await?;
        connack.session_present = begun.resumed;
        out.clear();
        connack.encode(connect.version, &mut out);
        Ok((begun, agreement, out))
    }

    fn admit(&self, connect: &Connect<'_>, profile: &Profile) -> Result<(), (ReasonCode, &'static str)> {
        if self.is_stopping() {
            return Err((ReasonCode::ServerUnavailable, "the bridge is shutting down"));
        }
        if connect.client_id.len() > limits::MAXIMUM_CLIENT_ID_BYTES {
            return Err((ReasonCode::ClientIdentifierNotValid, "the client identifier is too long"));
        }
        if connect.will.as_ref().is_some_and(|will| !is_within_limits(will.topic)) {
            return Err((ReasonCode::TopicNameInvalid, "the will's topic name is too long or has too many levels"));
        }
        if connect.will.as_ref().is_some_and(|will| will.qos > profile.maximum_qos) {
            return Err((ReasonCode::QosNotSupported, "the will's QoS is above what this listener takes"));
        }
        if connect.will.as_ref().is_some_and(|will| will.retain) && !profile.retain_available {
            return Err((ReasonCode::RetainNotSupported, "this listener retains nothing, and the will asks for it"));
        }
        if connect.will.as_ref().is_some_and(|will| !profile.takes_payload(will.properties(), will.payload)) {
            return Err((
                ReasonCode::PayloadFormatInvalid,
                "the will's payload is not the UTF-8 that it is said to be",
            ));
        }
        if connect.will.as_ref().is_some_and(|will| will.topic.starts_with(system::PREFIX)) {
            return Err((ReasonCode::NotAuthorized, "the will's topic is the broker's own"));
        }
        Ok(())
    }

    /// Resumes the session or begins a new one; whether there was one to resume. That is on record when
    /// this returns, except for a new session that nobody misses after a crash.
    async fn begin_session(
        &self,
        found: OwnedSession,
        user: Option<&User>,
        connect: &Connect<'_>,
        expiry: u32,
        receive_maximum: u16,
        announce: impl FnOnce(bool) -> Option<Untold>,
    ) -> Result<Begun, (ReasonCode, &'static str)> {
        let client_id = found.session.client_id.clone();
        let resumed = !connect.clean_start && found.existed();
        let (old, mut owned) = if resumed || !found.existed() {
            (None, found)
        } else {
            (Some(found), self.sessions.prepare(&client_id, user).await)
        };
        let will = connect.will.as_ref().map(Will::from);
        let guaranteed = resumed || old.is_some() || expiry > 0 || will.is_some();
        let mut batch = BatchBuilder::default();
        let change = Change::Connect {
            client_id: client_id.as_str(),
            user: user.map(|user| &**user),
            expiry,
            receive_maximum,
            will,
        };
        change.record(owned.session.id, guaranteed, &mut batch);
        let untold = announce(resumed);
        if let Some(untold) = &untold {
            untold.open(&client_id, self.device_of(&client_id), &mut batch);
        }
        let appended = self.journal.append(batch, Some(&owned.session.signal)).await;
        let announced = appended.as_ref().ok().filter(|_| untold.is_some()).and_then(|batch| Announced::by(batch));
        let introduction = match (appended, guaranteed) {
            (Ok(batch), false) => Introduction::Appended(batch),
            // It is refused what it publishes and subscribes to, and told so.
            (Err(AppendError::Full), false) => Introduction::Refused(untold.map(Box::new)),
            (Ok(batch), true) if outcome(&batch, &owned.session.signal).await == Outcome::Durable => {
                owned.state.connected_at = batch.last();
                Introduction::Recorded
            }
            (result, _) => {
                if !resumed {
                    self.sessions.end(&mut owned);
                    self.sessions.forget(owned.session.id);
                }
                return Err(match result {
                    Ok(_) | Err(AppendError::Full) => (ReasonCode::QuotaExceeded, JOURNAL_FULL),
                    Err(_) => (ReasonCode::ServerUnavailable, "the journal takes nothing"),
                });
            }
        };
        if let Some(old) = old {
            old.session.note_arrival();
            self.sessions.replace(old, &owned);
        }
        owned.session.note_arrival();
        let state = &mut *owned.state;
        state.established = true;
        state.expiry = expiry;
        if let Some(window) = state.window.present_mut() {
            window.resume();
        }
        Ok(Begun { owned, resumed, introduction, announced })
    }

    /// The name of the device that a client is which is told of.
    pub(super) fn device_of<'a>(&self, client_id: &'a ClientId) -> &'a str {
        let client_id = client_id.as_str();
        self.settings.devices.device(client_id).unwrap_or(client_id)
    }

    /// In 3.1.1 a session that is not clean lives for ever, as far as the limit allows.
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        let wanted = match connect.version {
            ProtocolVersion::V311 if connect.clean_start => 0,
            ProtocolVersion::V311 => u32::MAX,
            ProtocolVersion::V5 => connect.properties.session_expiry_interval,
        };
        wanted.min(self.settings.maximum_session_expiry)
    }
}

/// The next packet whole, and what came behind it; `input` is what has been read of it already.
pub(super) async fn read_packet<S: AsyncRead + Unpin>(
    io: &mut S,
    mut input: Vec<u8>,
    maximum_packet_size: u32,
) -> Result<(Vec<u8>, Vec<u8>), End> {
    loop {
        if let Some(frame) = split(&input, maximum_packet_size)? {
            let length = frame.length();
            let rest = input.split_off(length);
            return Ok((input, rest));
        }
        input.reserve(READ_BYTES);
        if io.read_buf(&mut input).await? == 0 {
            return Err(End::Closed);
        }
    }
}

fn agree(connect: &Connect<'_>, profile: &Profile) -> Agreement {
    let keep_alive = server_keep_alive(connect, profile).unwrap_or(connect.keep_alive);
    let keep_alive = Duration::from_secs(u64::from(keep_alive));
    Agreement {
        version: connect.version,
        maximum_packet_size: connect.properties.maximum_packet_size.unwrap_or(u32::MAX),
        receive_maximum: connect.properties.receive_maximum.min(profile.receive_maximum),
        silence: (!keep_alive.is_zero()).then(|| keep_alive + keep_alive / 2),
        topic_alias_maximum: connect.properties.topic_alias_maximum.min(limits::OUTGOING_TOPIC_ALIASES),
        problem_information: connect.properties.request_problem_information,
    }
}

/// The keep alive that a client is told to use instead of its own (section 3.2.2.3.14).
fn server_keep_alive(connect: &Connect<'_>, profile: &Profile) -> Option<u16> {
    let longest = profile.keep_alive.filter(|_| connect.version == ProtocolVersion::V5)?;
    (connect.keep_alive == 0 || connect.keep_alive > longest).then_some(longest)
}

fn connack<'a>(connect: &Connect<'_>, profile: &Profile, expiry: u32, assigned: Option<&'a ClientId>) -> Connack<'a> {
    let asked = connect.properties.session_expiry_interval;
    Connack {
        session_present: false,
        reason: ReasonCode::Success,
        properties: ConnackProperties {
            session_expiry_interval: (expiry != asked).then_some(expiry),
            receive_maximum: profile.receive_maximum,
            maximum_qos: profile.maximum_qos,
            retain_available: profile.retain_available,
            maximum_packet_size: Some(profile.maximum_packet_size),
            assigned_client_identifier: assigned.map(ClientId::as_str),
            topic_alias_maximum: profile.topic_alias_maximum,
            server_keep_alive: server_keep_alive(connect, profile),
            ..ConnackProperties::default()
        },
    }
}

/// A session that a connection has.
struct Begun {
    owned: OwnedSession,
    resumed: bool,
    introduction: Introduction,
    announced: Option<Announced>,
}

/// What has become of an append.
async fn outcome(batch: &Batch, signal: &Signal) -> Outcome {
    loop {
        match batch.outcome() {
            Outcome::Pending => signal.wait().await,
            settled => {
                // It may have rung for the connection as well.
                signal.ring();
                return settled;
            }
        }
    }
}

/// What a handshake has led to.
struct Opened {
    owned: OwnedSession,
    introduction: Introduction,
    announced: Option<Announced>,
    agreement: Agreement,
    will: Option<Box<Will>>,
    identity: Option<Box<Identity>>,
    input: Vec<u8>,
    out: Vec<u8>,
}

/// The client's name, or a new one where it has none; whether it is new. It must be the one that it is `bound` to.
fn client_id(connect: &Connect<'_>, bound: Option<&User>) -> Result<(ClientId, bool), (ReasonCode, &'static str)> {
    let assigned = connect.client_id.is_empty();
    let chosen = match bound {
        Some(name) if assigned || connect.client_id == &**name => name.to_string(),
        Some(_) => {
            return Err((
                ReasonCode::ClientIdentifierNotValid,
                "the client identifier is not the name in the client's certificate",
            ));
        }
        None if assigned => format!("auto-{}", uuid::Uuid::new_v4().simple()),
        None => connect.client_id.to_owned(),
    };
    let invalid = |_| (ReasonCode::ClientIdentifierNotValid, "the client identifier is not valid");
    Ok((chosen.parse().map_err(invalid)?, assigned))
}

/// Says why there will be no connection, as far as the version has words for it and the client takes
/// them, and gives the client time to read it.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    version: ProtocolVersion,
    takes: u32,
    reason: ReasonCode,
    why: &str,
) {
    let is_sayable = version == ProtocolVersion::V5 || reason.connect_return_code().is_some();
    let mut out = Vec::new();
    for why in [Some(why), None] {
        out.clear();
        Connack::refusal(reason, why).encode(version, &mut out);
        if out.len() <= takes as usize {
            break;
        }
    }
    // Whether it arrives changes nothing: the connection is closed.
    if is_sayable && out.len() <= takes as usize {
        drop(io.write_all(&out).await);
    }
    drop(io.shutdown().await);
    read_away(io).await;
}
