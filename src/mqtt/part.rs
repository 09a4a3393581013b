//! The end of a connection: what is put on record of it, and what becomes of its session.

use std::time::Duration;

use super::{Broker, ledger::change::Change, session::OwnedSession, will::Will};
use crate::journal::{AppendError, BatchBuilder};

/// Pause before the end of a connection is put on record again, where there was no room for it.
const RETRY: Duration = Duration::from_millis(500);

impl Broker {
    /// Lets go of a session whose connection has ended: publishes its will now, or leaves it to the
    /// dispatcher, and ends it if it does not outlive its connection.
    pub(super) async fn part(&self, mut owned: OwnedSession, will: Option<Will>) {
        let expiry = owned.state.expiry;
        // Due when its delay is over or the session ends, whichever is first.
        let now = |will: &Will| expiry == 0 || will.delay.is_zero() || self.is_stopping();
        let (due, pending) = match will {
            Some(will) if now(&will) => (Some(will), false),
            other => (None, other.is_some()),
        };
        let sent = owned.session.on_record(owned.state.window.next_number());
        let end = Change::Disconnect { expiry, will_pending: pending, sent };
        let mut wanted = true;
        while wanted {
            let mut batch = BatchBuilder::default();
            if let Some(will) = &due {
                let guaranteed = (self.guarantees)(&will.topic);
                will.publish(owned.session.id, owned.session.client_id.as_str(), guaranteed, &mut batch);
            }
            end.record(owned.session.id, pending, &mut batch);
            wanted = match self.journal.append(batch, None).await {
                Ok(_) => false,
                Err(AppendError::Full) => {
                    // A client that is back supersedes it.
                    tokio::time::sleep(RETRY).await;
                    !owned.is_claimed() && !self.is_stopping()
                }
                Err(error) => {
                    tracing::debug!(client.id = %owned.session.client_id, %error, "the end of a connection is not on record");
                    false
                }
            };
        }
        if expiry == 0 {
            self.sessions.end(&mut owned);
        }
    }
}
