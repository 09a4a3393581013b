//! Wills: what the bridge publishes for a client that has gone without a word (MQTT 5.0 section 3.1.2.5).

use std::{sync::Arc, time::Duration};

use super::{
    Broker, codec,
    session::{OwnedSession, PendingWill, Session},
    window::Window,
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
    pub(super) async fn part(self: &Arc<Self>, mut owned: OwnedSession, will: Option<Will>) {
        if let Some(will) = will {
            // Due when its delay is over or the session ends, whichever is first.
            let delay = owned.lifetime().map_or(will.delay, |lifetime| lifetime.min(will.delay));
            if delay.is_zero() || self.is_stopping() {
                self.publish(&owned.session, &will).await;
            } else {
                self.publish_later(&mut owned, will, delay);
            }
        }
        self.release(owned);
    }

    /// Ends the session now if it does not outlive its connection, else in time.
    pub(super) fn release(self: &Arc<Self>, mut owned: OwnedSession) {
        let Some(lifetime) = owned.lifetime() else { return };
        if lifetime.is_zero() {
            self.end_session(&mut owned);
            return;
        }
        let (broker, session, claim) = (Arc::clone(self), Arc::clone(&owned.session), owned.claim());
        let timer = tokio::spawn(async move {
            let waited = broker.background.run_until_cancelled(tokio::time::sleep(lifetime)).await;
            if waited.is_some()
                && let Some(mut owned) = broker.sessions.own_abandoned(&session, claim)
            {
                broker.end_session(&mut owned);
            }
        });
        owned.state.expiry_timer = Some(timer.abort_handle());
    }

    /// Forgets a session and everything that belongs to it.
    fn end_session(self: &Arc<Self>, owned: &mut OwnedSession) {
        let records = self.clear_session(owned);
        self.sessions.remove(owned);
        if records.is_empty() {
            return;
        }
        let (journal, client_id) = (self.journal.clone(), owned.session.client_id.clone());
        tokio::spawn(async move {
            // Should this be lost, the session comes back at the next start and expires again.
            if let Err(error) = journal.append(records, None).await {
                tracing::warn!(%error, client.id = %client_id, "cannot record the end of a session");
            }
        });
    }

    /// Empties a session, as clean start asks; a will that waited for its end is published.
    /// Returns the records of it, to be appended ahead of any other of this session.
    pub(super) fn clear_session(self: &Arc<Self>, owned: &mut OwnedSession) -> BatchBuilder {
        let client_id = owned.session.client_id.clone();
        let state = &mut *owned.state;
        if !state.subscriptions.is_empty() {
            let mut routing = self.routing.lock();
            for filter in state.subscriptions.drain() {
                routing.unsubscribe(&filter, &owned.session);
            }
        }
        owned.session.mailbox.lock().clear();
        owned.session.set_in_flight(None);
        state.window = Window::default();
        let mut records = BatchBuilder::default();
        state.stop_keeping(client_id.as_str(), &mut records);
        state.held.clear();
        if let Some(PendingWill { will, timer }) = state.pending_will.take() {
            timer.abort();
            let (broker, session) = (Arc::clone(self), Arc::clone(&owned.session));
            self.connections.spawn(async move { broker.publish(&session, &will).await });
        }
        records
    }

    /// Publishes the will after its delay, unless the client is back by then. A shutdown publishes
    /// it at once.
    fn publish_later(self: &Arc<Self>, owned: &mut OwnedSession, will: Will, delay: Duration) {
        let (broker, session, claim) = (Arc::clone(self), Arc::clone(&owned.session), owned.claim());
        let timer = self.connections.spawn(async move {
            broker.background.run_until_cancelled(tokio::time::sleep(delay)).await;
            let pending =
                broker.sessions.own_abandoned(&session, claim).and_then(|mut owned| owned.state.pending_will.take());
            if let Some(pending) = pending {
                broker.publish(&session, &pending.will).await;
            }
        });
        owned.state.pending_will = Some(PendingWill { will, timer: timer.abort_handle() });
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
