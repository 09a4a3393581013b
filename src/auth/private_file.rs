//! Files of secrets: written anew beside the old one, which they then replace, so that a reader finds one or the other
//! whole; nobody but the owner may read them. Two editors at once: the later one wins.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::Path,
};

/// Mode of such a file.
const MODE: u32 = 0o600;

/// Writes text in the place of what a file has; who owns it stays.
///
/// # Errors
/// As the system says; the old file is as it was then.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
    // The file itself, where a link leads to it.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = file.with_file_name(name);
    let written = write(&temporary, fs::metadata(&file).ok(), text);
    let replaced = written.and_then(|()| fs::rename(&temporary, &file));
    if replaced.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&temporary);
        return replaced;
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(temporary: &Path, old: Option<fs::Metadata>, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(temporary)?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
