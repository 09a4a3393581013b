//! How far the journal has come, for whoever reads it.
//!
//! Each never ahead of the next, at any instant: *durable* (synced), *visible* (what streams
//! show: everything up to the first record that still must be synced), *appended*. None moves
//! backwards. Numbers that were refused, or reserved and not used, are passed like any other:
//! there is no record with them to wait for.

use tokio::sync::watch;

use crate::types::Sequence;

/// Which records a consumer may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// Those on stable storage.
    Durable,
    /// Those that are durable or need not be, as far as none before them is still in doubt.
    Visible,
    /// All. Some of them may yet be refused, or lost in a crash.
    Appended,
}

/// What the front knows under its mutex, to be shown once that is released.
#[derive(Clone, Copy)]
pub struct Shown {
    /// The last record appended.
    pub appended: Sequence,
    /// The last that may be visible.
    pub visible: Sequence,
    /// Whether to wake who waits for appended records.
    pub worth_waking: bool,
}

/// The three. Never set under the front's mutex: whoever reads a watermark holds a lock of its
/// own and may ask the front something. Since values only rise, and every setter raises them from
/// the last to the first, the order between them holds without.
pub struct Watermarks {
    durable: watch::Sender<Sequence>,
    visible: watch::Sender<Sequence>,
    appended: watch::Sender<Sequence>,
}

impl Watermarks {
    /// All at the end of what a start found.
    pub fn new(last: Sequence) -> Self {
        Self {
            durable: watch::Sender::new(last),
            visible: watch::Sender::new(last),
            appended: watch::Sender::new(last),
        }
    }

    /// Sets what has been appended, and what of it is visible.
    pub fn show(&self, shown: Shown) {
        self.appended.send_if_modified(|appended| {
            *appended = shown.appended.max(*appended);
            shown.worth_waking
        });
        raise(&self.visible, shown.visible);
    }

    /// Sets what is durable; it is to be visible already.
    pub fn set_durable(&self, durable: Sequence) {
        debug_assert!(durable <= *self.visible.borrow());
        raise(&self.durable, durable);
    }

    /// A watermark as it is.
    pub fn get(&self, watermark: Watermark) -> Sequence {
        *self.sender(watermark).borrow()
    }

    /// A watermark as it moves.
    pub fn watch(&self, watermark: Watermark) -> watch::Receiver<Sequence> {
        self.sender(watermark).subscribe()
    }

    const fn sender(&self, watermark: Watermark) -> &watch::Sender<Sequence> {
        match watermark {
            Watermark::Durable => &self.durable,
            Watermark::Visible => &self.visible,
            Watermark::Appended => &self.appended,
        }
    }
}

/// Moves a watermark forward, or leaves it.
fn raise(sender: &watch::Sender<Sequence>, to: Sequence) {
    sender.send_if_modified(|current| {
        let moves = to > *current;
        *current = to.max(*current);
        moves
    });
}
