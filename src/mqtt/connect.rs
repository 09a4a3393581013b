//! From the first byte to CONNACK (MQTT 5.0 section 3.1 and 3.2).

use std::{io, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Broker,
    codec::{Connack, ConnackProperties, Connect, Packet, ProtocolVersion, ReasonCode, Sender, refusal, split},
    connection::{Agreement, Connection},
    end::End,
    listener::Handshake,
    receive::is_within_limits,
    session::{OwnedSession, SessionState},
    will::Will,
};
use crate::{
    journal::{BatchBuilder, Record},
    limits,
    types::{ClientId, Peer},
};

/// Bytes read at a time before CONNECT is whole.
const READ_BYTES: usize = 1024;

impl Broker {
    /// Serves one client from its first byte of MQTT to its last; `handshake` is its place among
    /// those that have not sent a CONNECT.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        mut io: S,
        peer: Peer,
        handshake: Handshake,
    ) {
        self.statistics.accepted.add(1);
        // Boxed, so that a connection does not hold the handshake's space for all its life.
        match Box::pin(self.open(&mut io, handshake)).await {
            Ok(Opened { owned, agreement, will, input, out }) => {
                Connection::new(self, owned, agreement, will, peer, io, input, out).run().await;
            }
            Err(end) if end.is_protocol_error() => {
                self.statistics.protocol_errors.add(1);
                tracing::warn!(%peer, reason = %end, "refused a connection");
            }
            Err(end) => tracing::debug!(%peer, reason = %end, "no connection came about"),
        }
    }

    /// Only reading has a time limit: once a session is owned, what remains depends on no peer
    /// and must not be cut off in the middle.
    async fn open<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        io: &mut S,
        handshake: Handshake,
    ) -> Result<Opened, End> {
        let reading = tokio::time::timeout(self.settings.handshake_timeout, self.read_packet(io));
        let reading = handshake.run(reading);
        let Some(read) = self.background.run_until_cancelled(reading).await else { return Err(End::ShuttingDown) };
        let Some(read) = read else { return Err(End::PushedOut) };
        drop(handshake);
        let (packet, input) = read.unwrap_or(Err(End::Io(io::ErrorKind::TimedOut.into())))?;
        let frame = split(&packet, self.settings.maximum_packet_size)?.ok_or(End::Closed)?;
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
                    refuse(io, version, reason).await;
                }
                return Err(error.into());
            }
        };
        if let Err((reason, why)) = self.admit(&connect) {
            refuse(io, connect.version, reason).await;
            return Err(End::Forbidden(reason, why));
        }
        let (client_id, assigned) = client_id(&connect)?;
        let mut owned = self.sessions.own(&client_id).await;
        let session_present = self.begin_session(&mut owned, &connect).await;
        let agreement = self.agree(&connect);
        let mut out = Vec::new();
        self.connack(&connect, &owned.state, session_present, assigned.then_some(&client_id))
            .encode(connect.version, &mut out);
        let will = connect.will.as_ref().map(|will| Box::new(Will::from(will)));
        Ok(Opened { owned, agreement, will, input, out })
    }

    /// The first packet whole, and what came behind it.
    async fn read_packet<S: AsyncRead + Unpin>(&self, io: &mut S) -> Result<(Vec<u8>, Vec<u8>), End> {
        let mut input = Vec::new();
        loop {
            if let Some(frame) = split(&input, self.settings.maximum_packet_size)? {
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

    fn admit(&self, connect: &Connect<'_>) -> Result<(), (ReasonCode, &'static str)> {
        if self.is_stopping() {
            return Err((ReasonCode::ServerUnavailable, "the bridge is shutting down"));
        }
        if connect.properties.authentication_method.is_some() {
            return Err((ReasonCode::BadAuthenticationMethod, "no enhanced authentication is offered"));
        }
        if connect.client_id.len() > limits::MAXIMUM_CLIENT_ID_BYTES {
            return Err((ReasonCode::ClientIdentifierNotValid, "the client identifier is too long"));
        }
        if connect.will.as_ref().is_some_and(|will| !is_within_limits(will.topic)) {
            return Err((ReasonCode::TopicNameInvalid, "the will's topic name is too long or has too many levels"));
        }
        Ok(())
    }

    /// Resumes or empties the session; whether there was one to resume.
    async fn begin_session(self: &Arc<Self>, owned: &mut OwnedSession, connect: &Connect<'_>) -> bool {
        let resumed = !connect.clean_start && owned.existed();
        let mut records = if resumed { BatchBuilder::default() } else { self.clear_session(owned) };
        let client_id = owned.session.client_id.clone();
        let expiry = self.session_expiry(connect);
        let state = &mut *owned.state;
        if let Some(pending) = state.pending_will.take() {
            pending.timer.abort();
        }
        let known = (state.kept, state.expiry) == (true, expiry);
        state.established = true;
        state.expiry = expiry;
        // Identifiers held so far are on record only if the session was.
        let can_keep = state.kept || (state.subscriptions.is_empty() && state.held.is_empty());
        let keep = expiry > 0 && !known && can_keep;
        if keep {
            records.push(&Record::SessionKept { client_id: client_id.as_str(), expiry });
        }
        if !records.is_empty() {
            // Not waited for: the first record that the session matters for comes behind it.
            let appended = self.journal.append(records, None).await.is_ok();
            state.kept = state.kept || (keep && appended);
        }
        resumed
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

    fn agree(&self, connect: &Connect<'_>) -> Agreement {
        let keep_alive = Duration::from_secs(u64::from(connect.keep_alive));
        Agreement {
            version: connect.version,
            maximum_packet_size: connect.properties.maximum_packet_size.unwrap_or(u32::MAX),
            receive_maximum: connect.properties.receive_maximum.min(self.settings.receive_maximum),
            silence: (!keep_alive.is_zero()).then(|| keep_alive + keep_alive / 2),
        }
    }

    fn connack<'a>(
        &self,
        connect: &Connect<'_>,
        state: &SessionState,
        session_present: bool,
        assigned: Option<&'a ClientId>,
    ) -> Connack<'a> {
        let asked = connect.properties.session_expiry_interval;
        Connack {
            session_present,
            reason: ReasonCode::Success,
            properties: ConnackProperties {
                session_expiry_interval: (state.expiry != asked).then_some(state.expiry),
                receive_maximum: self.settings.receive_maximum,
                maximum_packet_size: Some(self.settings.maximum_packet_size),
                assigned_client_identifier: assigned.map(ClientId::as_str),
                topic_alias_maximum: self.settings.topic_alias_maximum,
                shared_subscription_available: false,
                ..ConnackProperties::default()
            },
        }
    }
}

/// What a handshake has led to.
struct Opened {
    owned: OwnedSession,
    agreement: Agreement,
    will: Option<Box<Will>>,
    input: Vec<u8>,
    out: Vec<u8>,
}

/// The client's name, or a new one where it has none; whether it is new.
fn client_id(connect: &Connect<'_>) -> Result<(ClientId, bool), End> {
    let assigned = connect.client_id.is_empty();
    let chosen =
        if assigned { format!("auto-{}", uuid::Uuid::new_v4().simple()) } else { connect.client_id.to_owned() };
    let invalid = |_| End::Forbidden(ReasonCode::ClientIdentifierNotValid, "the client identifier is not valid");
    Ok((chosen.parse().map_err(invalid)?, assigned))
}

async fn refuse<S: AsyncWrite + Unpin>(io: &mut S, version: ProtocolVersion, reason: ReasonCode) {
    let mut out = Vec::new();
    Connack::refusal(reason).encode(version, &mut out);
    // Whether it arrives changes nothing: the connection is closed.
    drop(io.write_all(&out).await);
    drop(io.shutdown().await);
}
