//! The end of a connection whose client is told why: it must get the chance to read that.
//!
//! A socket that is closed with something unread resets the connection, and what was sent last may never be
//! read (RFC 9293 section 3.6.1). So what a client sends that cannot know yet is read and thrown away, for a
//! while and up to a size.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

/// Time that a last packet may take to leave, and again for the client to read it.
pub(super) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a client that is told to go, which it has sent before it could know: what both sides' sockets
/// hold on the way.
const FAREWELL_BYTES: usize = 4 << 20;

/// Bytes read at a time.
const READ_BYTES: usize = 4 << 10;

/// Reads what a client still sends, until it goes, has sent too much, or its time is over. Its own side must
/// have been shut down before.
pub(super) async fn read_away<S: AsyncRead + Unpin>(io: &mut S) {
    let reading = async {
        let mut buffer = vec![0; READ_BYTES];
        let mut left = FAREWELL_BYTES;
        while let Ok(read @ 1..) = io.read(&mut buffer).await {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    };
    // Whoever does not go in time is cut off.
    drop(timeout(FAREWELL_TIMEOUT, reading).await);
}
