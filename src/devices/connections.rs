//! Which connections a device has, as the journal tells it.
//!
//! A client has one connection at a time, so one that is opened stands for the end of the one before, should the
//! record of that be lost, or come late because there was no room for it.

use crate::{
    limits,
    types::{DeviceState, LastClosed, OpenConnection, Presence, PresenceChange},
};

/// Takes in one record about this device.
pub fn note(state: &mut DeviceState, presence: &Presence<'_>) {
    let client_id = presence.client_id;
    match presence.change {
        PresenceChange::Opened => {
            state.last_seen = state.last_seen.max(presence.received);
            if state.events == 0 {
                client_id.clone_into(&mut state.client_id);
            }
            state.connections.retain(|open| open.client_id != client_id);
            if state.connections.len() == limits::DEVICE_CONNECTIONS {
                state.connections.remove(0);
            }
            let (client_id, since, sequence) = (client_id.to_owned(), presence.received, presence.sequence.0);
            // Mostly the only one.
            state.connections.reserve_exact(1);
            state.connections.push(OpenConnection { client_id, since, sequence });
        }
        PresenceChange::Closed { opened, reason, .. } => {
            state.connections.retain(|open| open.sequence != opened.0);
            let (client_id, reason) = (client_id.to_owned(), reason.to_owned());
            state.last_closed = Some(LastClosed { client_id, timestamp: presence.received, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Micros, Sequence};

    fn presence(client_id: &str, sequence: u64, opened: Option<u64>) -> Presence<'_> {
        let closed = |opened| PresenceChange::Closed { opened: Sequence(opened), since: Micros::MIN, reason: "lost" };
        Presence {
            sequence: Sequence(sequence),
            received: Micros::saturating(sequence.cast_signed()),
            client_id,
            device: "d",
            change: opened.map_or(PresenceChange::Opened, closed),
            details: "",
        }
    }

    fn open(state: &DeviceState) -> Vec<(&str, u64)> {
        state.connections.iter().map(|open| (open.client_id.as_str(), open.sequence)).collect()
    }

    #[test]
    fn connections_come_and_go_and_the_last_end_is_known() {
        let mut state = DeviceState::default();
        note(&mut state, &presence("a", 1, None));
        note(&mut state, &presence("b", 2, None));
        assert_eq!((open(&state), state.client_id.as_str()), (vec![("a", 1), ("b", 2)], "b"));
        note(&mut state, &presence("a", 3, Some(1)));
        let closed = state.last_closed.clone().unwrap();
        assert_eq!((open(&state), closed.client_id.as_str(), closed.reason.as_str()), (vec![("b", 2)], "a", "lost"));
        assert_eq!(state.last_seen, Micros::saturating(2), "its end is not a word of it");
    }

    #[test]
    fn an_end_that_comes_late_or_is_lost_leaves_the_newer_connection() {
        let mut state = DeviceState::default();
        note(&mut state, &presence("a", 1, None));
        note(&mut state, &presence("a", 2, None));
        assert_eq!(open(&state), [("a", 2)]);
        note(&mut state, &presence("a", 3, Some(1)));
        assert_eq!(open(&state), [("a", 2)]);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut state = DeviceState::default();
        let names: Vec<_> = (0..limits::DEVICE_CONNECTIONS + 5).map(|n| n.to_string()).collect();
        for (sequence, name) in (1..).zip(&names) {
            note(&mut state, &presence(name, sequence, None));
        }
        assert_eq!(
            (state.connections.len(), state.connections[0].client_id.as_str()),
            (limits::DEVICE_CONNECTIONS, "5")
        );
    }
}
