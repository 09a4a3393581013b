//! Files that appear whole or not at all, readable by those who may.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Mode of a certificate: clients of other users verify the server with `ca.pem`.
pub(super) const PUBLIC: u32 = 0o644;

/// Mode of a private key.
pub(super) const PRIVATE: u32 = 0o600;

/// Makes a directory that everyone may enter, with its parents.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Writes a file in place of one that may be there. The key is never readable by others, not
/// even for a moment.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
