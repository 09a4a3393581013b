//! Unix domain sockets: the file that stands for one, from its making to its end.
//!
//! A process that is killed leaves its file behind. The next one replaces it, if nobody listens
//! there any more; a file that is no socket is never touched.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::{limits, types::Peer};

/// The file of a socket that this process listens on; removed with it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: what is removed is this file and no later one.
    identity: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity);
        if is_own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

/// Binds and listens. Nobody can connect before the file has its `mode`.
pub async fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let socket = UnixSocket::new_stream()?;
    match socket.bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path).await?;
            socket.bind(path)?;
        }
        bound => bound?,
    }
    let file = SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok((socket.listen(limits::LISTEN_BACKLOG)?, file))
}

/// Who has connected.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let peer = stream.peer_cred()?;
    Ok(Peer::Unix { pid: peer.pid(), uid: peer.uid() })
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |message| io::Error::new(io::ErrorKind::AddrInUse, message);
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use("there is a file that is no socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(in_use("another process listens there")),
        Err(error) => Err(error),
    }
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mqtt.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "what a killed process leaves");

        let (listener, file) = bind(&path, 0o600).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let error = bind(&path, 0o600).await.unwrap_err();
        assert_eq!(error.to_string(), "another process listens there");
        assert!(UnixStream::connect(&path).await.is_ok());

        drop((listener, file));
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = bind(&path, 0o600).await.unwrap_err();
        assert_eq!(error.to_string(), "there is a file that is no socket");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn only_the_own_file_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mqtt.sock");
        let (_listener, file) = bind(&path, 0o600).await.unwrap();
        // Kept by another name, so that its inode is not used again.
        fs::rename(&path, directory.path().join("other")).unwrap();
        let (_listener, later) = bind(&path, 0o600).await.unwrap();
        drop(file);
        assert!(path.exists());
        drop(later);
        assert!(!path.exists());
    }
}
