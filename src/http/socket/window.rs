//! How many events a client lets come before it has acknowledged the first: what it has got and not worked through
//! yet. A browser reads everything that comes, whatever its page does with it; only the page can tell.

use std::collections::VecDeque;

use crate::types::{LastEventId, Sequence};

/// Events that were sent and not acknowledged.
#[derive(Debug)]
pub struct Window {
    size: usize,
    sent: VecDeque<Sequence>,
}

impl Window {
    /// For a client that takes so many.
    pub const fn new(size: usize) -> Self {
        Self { size, sent: VecDeque::new() }
    }

    /// The same, with nothing under way.
    pub fn emptied(self) -> Self {
        Self::new(self.size)
    }

    /// Whether another body may be sent. What one body has may exceed the size.
    pub fn has_room(&self) -> bool {
        self.sent.len() < self.size
    }

    /// Notes an event by its message. Those without an id are of a snapshot.
    pub fn note(&mut self, line: &[u8]) {
        self.sent.extend(id_of(line).map(|id| id.sequence));
    }

    /// Everything up to here has been worked through.
    pub fn acknowledge(&mut self, sequence: Sequence) {
        while self.sent.front().is_some_and(|first| *first <= sequence) {
            self.sent.pop_front();
        }
    }
}

/// The id of an event's message, as the stream writes it.
fn id_of(line: &[u8]) -> Option<LastEventId> {
    let rest = line.strip_prefix(br#"{"type":"event","id":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_and_opens() {
        let mut window = Window::new(2);
        for line in [
            r#"{"type":"event","id":"1f3a9c02-5","event":{}}"#,
            r#"{"type":"event","event":{}}"#,
            r#"{"type":"position","id":"1f3a9c02-6"}"#,
        ] {
            window.note(line.as_bytes());
        }
        assert!(window.has_room());
        for sequence in [7, 8] {
            window.note(format!(r#"{{"type":"event","id":"1f3a9c02-{sequence}","event":{{}}}}"#).as_bytes());
        }
        assert!(!window.has_room());
        window.acknowledge(Sequence(4));
        assert!(!window.has_room());
        window.acknowledge(Sequence(7));
        assert!(window.has_room());
    }
}
