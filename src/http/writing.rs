//! Writing to a client directly, as slowly as it reads, and giving up one that takes nothing.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

/// Writes everything; waits for a client that takes nothing for `patience` at most. While it keeps up, this is one
/// system call.
///
/// # Errors
/// [`ErrorKind::TimedOut`] when it is given up, else the connection's.
pub async fn write_all(socket: &TcpStream, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let waited = timeout(patience, socket.writable()).await;
                waited.map_err(|_| io::Error::new(ErrorKind::TimedOut, "the client takes nothing"))??;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
