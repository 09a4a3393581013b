//! The end of a connection: what is put on record of it, and what becomes of its session.
//!
//! A kept session is owned until that is appended, so that a client that comes back comes behind it. What
//! the journal has refused is tried again until there is room, or until a client that is back (not one that was
//! refused) makes it pointless; at a start, whoever was connected is not any more. That a device has gone is put on record beside it, and
//! alone where a client is back: it is told of each connection.

use std::{sync::Arc, time::Duration};

use super::{
    Broker,
    announce::Ending,
    ledger::change::Change,
    session::{OwnedSession, Session},
    will::Will,
};
use crate::{
    journal::{AppendError, Batch, BatchBuilder, Outcome},
    types::Signal,
};

/// Pause before the end of a connection is put on record again, where there was no room for it.
const RETRY: Duration = Duration::from_millis(500);

/// What is to be put on record.
struct Parting {
    session: Arc<Session>,
    expiry: u32,
    /// The will, where it is published now.
    due: Option<Will>,
    end: Change<'static>,
    will_pending: bool,
    /// What is told of it.
    ending: Option<Box<Ending>>,
    /// [`Session::arrivals`] while it was connected.
    arrivals: u64,
}

impl Parting {
    /// Whether a client that is back makes up for all but what is told.
    fn is_superseded(&self) -> bool {
        self.session.arrivals() != self.arrivals
    }

    /// Whether there is nothing left to put on record.
    fn is_done(&self) -> bool {
        self.is_superseded() && self.ending.as_ref().is_none_or(|ending| ending.is_void())
    }
}

/// An append, and what rings when its outcome is known. Not the session's signal: its next connection
/// waits for that one.
type Appended = (Arc<Batch>, Arc<Signal>);

impl Broker {
    /// Lets go of a session whose connection has ended: publishes its will now, or leaves it to the
    /// dispatcher, and ends it if it does not outlive its connection. Returns once that is appended.
    pub(super) async fn part(self: &Arc<Self>, owned: OwnedSession, will: Option<Will>, ending: Option<Box<Ending>>) {
        let expiry = owned.state.expiry;
        // Due when its delay is over or the session ends, whichever is first.
        let is_due = |will: &Will| expiry == 0 || will.delay.is_zero();
        let (due, will_pending) = match will {
            Some(will) if is_due(&will) => (Some(will), false),
            other => (None, other.is_some()),
        };
        let sent = owned.session.on_record(owned.state.window.next_number());
        let end = Change::Disconnect { expiry, will_pending, sent };
        let session = Arc::clone(&owned.session);
        let arrivals = session.arrivals();
        let parting = Parting { session, expiry, due, end, will_pending, ending, arrivals };
        let mut owned = Some(owned);
        match self.append_end(&parting, &mut owned).await {
            Ok(appended) => drop(self.connections.spawn(Arc::clone(self).insist(parting, owned, appended))),
            Err(error) => {
                tracing::debug!(client.id = %parting.session.client_id, %error, "the end of a connection is not on record");
            }
        }
    }

    /// Sees to it that the end of a connection is on record.
    async fn insist(self: Arc<Self>, parting: Parting, mut owned: Option<OwnedSession>, first: Option<Appended>) {
        let mut last = first;
        loop {
            if let Some((batch, signal)) = last
                && outcome(&batch, &signal).await != Outcome::Refused
            {
                return;
            }
            last = None;
            tokio::time::sleep(RETRY).await;
            if parting.expiry > 0 && !parting.is_superseded() {
                owned = owned.filter(|owned| !owned.is_claimed()).or_else(|| parting.session.own_abandoned());
                // A client wants it, and may come or be refused.
                if owned.is_none() && !self.is_stopping() {
                    continue;
                }
            }
            if self.is_stopping() || parting.is_done() {
                return;
            }
            match self.append_end(&parting, &mut owned).await {
                Ok(appended) => last = appended,
                Err(_) => return,
            }
        }
    }

    /// Lets go of the session once its end is appended, or, where it is over anyway, at the latest now.
    /// None where there is no room.
    async fn append_end(
        &self,
        parting: &Parting,
        owned: &mut Option<OwnedSession>,
    ) -> Result<Option<Appended>, AppendError> {
        let session = &parting.session;
        let mut batch = BatchBuilder::default();
        if !parting.is_superseded() {
            if let Some(will) = &parting.due {
                let guaranteed = (self.guarantees)(&will.topic);
                will.publish(session.id, session.client_id.as_str(), guaranteed, &mut batch);
            }
            parting.end.record(session.id, parting.will_pending, &mut batch);
        }
        if let Some(ending) = &parting.ending {
            ending.close(&session.client_id, self.device_of(&session.client_id), &mut batch);
        }
        let signal = Arc::<Signal>::default();
        let appended = self.journal.append(batch, Some(&signal)).await;
        if parting.expiry == 0
            && let Some(owned) = owned
        {
            self.sessions.end(owned);
        }
        match appended {
            Ok(batch) => {
                *owned = None;
                Ok(Some((batch, signal)))
            }
            Err(AppendError::Full) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn outcome(batch: &Batch, signal: &Signal) -> Outcome {
    loop {
        match batch.outcome() {
            Outcome::Pending => signal.wait().await,
            settled => return settled,
        }
    }
}
