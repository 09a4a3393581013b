//! Wills: what the bridge publishes for a client that has gone without a word (MQTT 5.0 section 3.1.2.5).

use std::{sync::Arc, time::Duration};

use super::{
    Broker, codec,
    session::{OwnedSession, Session},
};
use crate::{
    journal::{AppendError, BatchBuilder, Record},
    types::{Micros, Publication, PublishProperties, Qos, Sequence},
};

/// A will, kept while its connection lives.
#[derive(Debug, Clone)]
pub struct Will {
    qos: Qos,
    retain: bool,
    delay: Duration,
    topic: Box<str>,
    properties: Box<[u8]>,
    payload: Box<[u8]>,
}

impl From<&codec::Will<'_>> for Will {
    fn from(will: &codec::Will<'_>) -> Self {
        Self {
            qos: will.qos,
            retain: will.retain,
            delay: Duration::from_secs(u64::from(will.delay_interval)),
            topic: will.topic.into(),
            properties: will.properties.as_ref().into(),
            payload: will.payload.into(),
        }
    }
}

impl Broker {
    /// Lets go of a session whose connection has ended: publishes its will now or later, ends
    /// it now or starts its clock.
    pub(super) async fn part(self: &Arc<Self>, owned: OwnedSession, will: Option<Will>) {
        let session = Arc::clone(&owned.session);
        let claim = owned.claim();
        // A will is due when its delay is over or the session ends, whichever is first.
        let delay = will.as_ref().map(|will| owned.lifetime().map_or(will.delay, |lifetime| lifetime.min(will.delay)));
        match (will, delay) {
            (Some(will), Some(delay)) if !delay.is_zero() => {
                self.release(owned);
                self.publish_later(session, claim, will, delay);
            }
            (Some(will), _) => {
                self.publish(&session, &will).await;
                self.release(owned);
            }
            (None, _) => self.release(owned),
        }
    }

    /// Ends the session now if it does not outlive its connection, else in time.
    pub(super) fn release(self: &Arc<Self>, mut owned: OwnedSession) {
        let lifetime = owned.lifetime();
        if lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            self.end_session(&mut owned);
            return;
        }
        let Some(lifetime) = lifetime else { return };
        let (broker, session, claim) = (Arc::clone(self), Arc::clone(&owned.session), owned.claim());
        let timer = tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(lifetime) => {}
                () = broker.background.cancelled() => return,
            }
            if let Some(mut owned) = broker.sessions.own_abandoned(&session, claim) {
                broker.end_session(&mut owned);
            }
        });
        owned.state.expiry_timer = Some(timer.abort_handle());
    }

    /// Forgets a session and everything that belongs to it.
    pub(super) fn end_session(self: &Arc<Self>, owned: &mut OwnedSession) {
        self.clear_session(owned);
        self.sessions.remove(owned);
    }

    /// Empties a session, as clean start asks.
    pub(super) fn clear_session(self: &Arc<Self>, owned: &mut OwnedSession) {
        let client_id = owned.session.client_id.clone();
        let state = &mut *owned.state;
        let mut routing = self.routing.lock();
        for filter in state.subscriptions.drain() {
            routing.unsubscribe(&filter, &owned.session);
        }
        drop(routing);
        owned.session.mailbox.lock().clear();
        state.window = super::window::Window::default();
        let mut records = BatchBuilder::default();
        state.stop_keeping(client_id.as_str(), &mut records);
        state.held.clear();
        if !records.is_empty() {
            let journal = self.journal.clone();
            tokio::spawn(async move {
                // Should this be lost, the session comes back at the next start and expires again.
                if let Err(error) = journal.append(records, None).await {
                    tracing::warn!(%error, client.id = %client_id, "cannot record the end of a session");
                }
            });
        }
    }

    fn publish_later(self: &Arc<Self>, session: Arc<Session>, claim: u64, will: Will, delay: Duration) {
        let broker = Arc::clone(self);
        // Tracked, so that a shutdown publishes what is still waiting.
        self.connections.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = broker.background.cancelled() => {}
            }
            if session.claim() == claim {
                broker.publish(&session, &will).await;
            }
        });
    }

    async fn publish(&self, session: &Session, will: &Will) {
        let mut batch = BatchBuilder::default();
        batch.push(&Record::Publication {
            publication: Publication {
                sequence: Sequence::ZERO,
                received: Micros::default(),
                topic: &will.topic,
                payload: &will.payload,
                qos: will.qos,
                retain: will.retain,
                guaranteed: will.qos > Qos::AtMostOnce || (self.guarantees)(&will.topic),
                client_id: session.client_id.as_str(),
                properties: PublishProperties::new(&will.properties),
            },
            packet_id: 0,
        });
        match self.journal.append(batch, None).await {
            Ok(_) => {}
            Err(AppendError::Full) if will.qos == Qos::AtMostOnce => self.statistics.shed.add(1),
            Err(error) => tracing::warn!(client.id = %session.client_id, %error, "a will was not published"),
        }
    }
}
