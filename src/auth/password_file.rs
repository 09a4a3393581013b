//! The password file: one account a line, `name:verifier`; see [`Verifier`].
//!
//! Blank lines, and lines that begin with `#`, are the operator's own and stay as they are. It lets one guess passwords,
//! and pose as the server: `private_file` writes it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Accounts, Verifier, VerifierError, prepare, private_file};

/// Why there are no accounts.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// The file cannot be read.
    #[error("{}: cannot read the password file: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the password file: {error}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A line is no account.
    #[error("{}:{line}: {fault}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineError,
    },
}

/// Why a line is no account. Does not repeat the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No colon.
    #[error("expected name:verifier, as `synap-mqtt passwd` writes it")]
    Form,
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What comes behind the name.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// The name was there before.
    #[error("the account of line {0} has the same name")]
    Repeated(usize),
}

/// Text that cannot be the name of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// One that a line cannot hold.
    #[error("a name has at least one character, no ':', no space around it, and does not begin with '#'")]
    Form,
    /// One that SASLprep does not take.
    #[error("the name has a character that names cannot have (RFC 4013)")]
    Forbidden,
    /// One that nobody can ask for.
    #[error("the name is not in the form that names are looked up in (RFC 4013)")]
    Unprepared,
}

/// A password file in memory.
#[derive(Debug)]
pub struct PasswordFile {
    file: PathBuf,
    /// As they are in the file, without their ends.
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Account(String, Verifier),
    /// A comment or nothing.
    Other(String),
}

impl PasswordFile {
    /// Reads a file, all of whose lines are right.
    ///
    /// # Errors
    /// When it cannot be read, or a line is neither an account nor a comment.
    pub fn read(file: &Path) -> Result<Self, PasswordFileError> {
        let unreadable = |error| PasswordFileError::Unreadable { file: file.to_owned(), error };
        Self::parse(file, &fs::read_to_string(file).map_err(unreadable)?)
    }

    /// As [`PasswordFile::read`]; a file that is not there has no accounts.
    ///
    /// # Errors
    /// As [`PasswordFile::read`].
    pub fn read_or_new(file: &Path) -> Result<Self, PasswordFileError> {
        match Self::read(file) {
            Err(PasswordFileError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Self::parse(file, "")
            }
            read => read,
        }
    }

    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, PasswordFileError> {
        let mut known = BTreeMap::new();
        let mut lines = Vec::new();
        for (number, text) in (1..).zip(text.lines()) {
            let line = parse_line(text).and_then(|line| match &line {
                Line::Other(_) => Ok(line),
                Line::Account(name, _) => match known.entry(name.clone()) {
                    Entry::Occupied(before) => Err(LineError::Repeated(*before.get())),
                    Entry::Vacant(place) => {
                        place.insert(number);
                        Ok(line)
                    }
                },
            });
            let faulty = |fault| PasswordFileError::Line { file: file.to_owned(), line: number, fault };
            lines.push(line.map_err(faulty)?);
        }
        Ok(Self { file: file.to_owned(), lines })
    }

    /// The names of its accounts, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Account(name, _) => Some(name.as_str()),
            Line::Other(_) => None,
        })
    }

    /// Takes the accounts of another file in.
    ///
    /// # Errors
    /// When an account is in both; its name.
    pub fn join(&mut self, other: Self) -> Result<(), String> {
        let known: BTreeSet<&str> = self.names().collect();
        let both = other.names().find(|name| known.contains(name)).map(str::to_owned);
        match both {
            Some(name) => Err(name),
            None => {
                self.lines.extend(other.lines);
                Ok(())
            }
        }
    }

    /// Its accounts.
    #[must_use]
    pub fn into_accounts(self) -> Accounts {
        Accounts::new(self.lines.into_iter().filter_map(|line| match line {
            Line::Account(name, verifier) => Some((name.into(), verifier)),
            Line::Other(_) => None,
        }))
    }

    /// Gives an account another verifier, or makes it; whether it is new.
    ///
    /// # Errors
    /// When no account can have the name.
    pub fn set(&mut self, name: &str, verifier: Verifier) -> Result<bool, NameError> {
        let name = prepared(name)?;
        let known = self.lines.iter_mut().find_map(|line| match line {
            Line::Account(other, verifier) if *other == name => Some(verifier),
            _ => None,
        });
        if let Some(known) = known {
            *known = verifier;
            return Ok(false);
        }
        self.lines.push(Line::Account(name, verifier));
        Ok(true)
    }

    /// Removes an account; whether there was one.
    ///
    /// # Errors
    /// When no account can have the name.
    pub fn remove(&mut self, name: &str) -> Result<bool, NameError> {
        let name = prepared(name)?;
        let before = self.lines.len();
        self.lines.retain(|line| !matches!(line, Line::Account(other, _) if *other == name));
        Ok(self.lines.len() < before)
    }

    /// Writes it in the place of the old one, whose owner it keeps.
    ///
    /// # Errors
    /// As the system says; the old file is as it was then.
    pub fn write(&self) -> Result<(), PasswordFileError> {
        private_file::replace(&self.file, &self.text())
            .map_err(|error| PasswordFileError::Unwritable { file: self.file.clone(), error })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            // Writing to a String cannot fail.
            let _ = match line {
                Line::Account(name, verifier) => writeln!(text, "{name}:{}", verifier.expose()),
                Line::Other(line) => writeln!(text, "{line}"),
            };
        }
        text
    }
}

fn parse_line(line: &str) -> Result<Line, LineError> {
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(Line::Other(line.to_owned()));
    }
    let (name, verifier) = line.split_once(':').ok_or(LineError::Form)?;
    if prepared(name)? != name {
        return Err(NameError::Unprepared.into());
    }
    Ok(Line::Account(name.to_owned(), verifier.parse()?))
}

/// The form in which an account has this name.
fn prepared(name: &str) -> Result<String, NameError> {
    let name = prepare::name(name).ok_or(if name.is_empty() { NameError::Form } else { NameError::Forbidden })?;
    if name.contains(':') || name.starts_with('#') || name.trim() != name {
        return Err(NameError::Form);
    }
    Ok(name.into_owned())
}
