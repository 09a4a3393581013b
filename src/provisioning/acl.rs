//! The access rules of devices: a file of mosquitto's `acl_file` form, with a `user` line for each device and its topics
//! below it. What an operator has written into it besides stays.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::Grants;
use crate::certs::write_private;

/// Why rules were not read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", file.display())]
pub struct AclError {
    file: PathBuf,
    source: io::Error,
}

/// The file in memory.
pub(super) struct Acl {
    file: PathBuf,
    text: String,
}

impl Acl {
    /// Reads a file; one that is not there has no rules.
    pub(super) fn read(file: &Path) -> Result<Self, AclError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(AclError { file: file.to_owned(), source }),
        };
        Ok(Self { file: file.to_owned(), text })
    }

    /// Takes a device's lines away: from its `user` line to the next. Whether there were any.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let mut kept = String::new();
        let mut is_its = false;
        let mut found = false;
        for line in self.text.lines() {
            if let Some(user) = line.trim().strip_prefix("user ") {
                is_its = user.trim() == name;
                found |= is_its;
            }
            if !is_its {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        self.text = kept;
        found
    }

    /// Adds a device's lines.
    pub(super) fn add(&mut self, name: &str, grants: &Grants) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "user {name}");
        for (access, topics) in [("write", &grants.publish), ("read", &grants.subscribe)] {
            for topic in topics {
                let _ = writeln!(self.text, "topic {access} {topic}");
            }
        }
    }

    pub(super) fn write(&self) -> Result<(), AclError> {
        write_private(&self.file, &self.text).map_err(|source| AclError { file: self.file.clone(), source })
    }
}
