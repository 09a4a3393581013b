//! Passwords that lie in files. Read anew for each session, so that one that was changed is
//! in effect with the next attempt.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sqlx::postgres::PgConnectOptions;

/// Permissions of a password file that belong to others than its owner.
const OTHERS: u32 = 0o077;

/// A file with the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// Its first line is the password.
    File(PathBuf),
    /// In the form of PostgreSQL's `.pgpass` (PostgreSQL manual, section 34.16).
    Passfile(PathBuf),
}

/// Why a file gives no password. Never repeats what is in it.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It cannot be read.
    #[error("cannot read the database's password from {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Its first line is empty.
    #[error("the first line of {}, which should be the database's password, is empty", .0.display())]
    Empty(PathBuf),
    /// Others than its owner may read it, as PostgreSQL's own clients do not allow either.
    #[error("others than its owner may read or write {}: chmod 600 makes it a password file", .0.display())]
    Open(PathBuf),
    /// No line is about this database.
    #[error("no line of {} is for this host, port, database and user", .0.display())]
    NoLine(PathBuf),
}

impl PasswordSource {
    /// The options with the password in them. Blocks for a small file.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub fn apply(&self, options: PgConnectOptions) -> Result<PgConnectOptions, PasswordError> {
        let password = match self {
            Self::File(file) => {
                let text = read(file)?;
                let line = text.lines().next().unwrap_or_default();
                if line.is_empty() {
                    return Err(PasswordError::Empty(file.clone()));
                }
                line.to_owned()
            }
            Self::Passfile(file) => {
                let is_open = fs::metadata(file).is_ok_and(|metadata| metadata.mode() & OTHERS != 0);
                if is_open {
                    return Err(PasswordError::Open(file.clone()));
                }
                find(&read(file)?, &options).ok_or_else(|| PasswordError::NoLine(file.clone()))?
            }
        };
        Ok(options.password(&password))
    }
}

fn read(file: &Path) -> Result<String, PasswordError> {
    fs::read_to_string(file).map_err(|source| PasswordError::Unreadable { file: file.to_owned(), source })
}

/// The password of the first line that fits.
fn find(text: &str, options: &PgConnectOptions) -> Option<String> {
    let host = match options.get_socket() {
        Some(_) => "localhost",
        None => options.get_host(),
    };
    let port = options.get_port().to_string();
    let database = options.get_database().unwrap_or(options.get_username());
    let wanted = [host, &*port, database, options.get_username()];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line);
        let password = fields.pop()?;
        let fits = |(field, wanted): (&String, &&str)| field == "*" || field == wanted;
        (fields.len() == wanted.len() && fields.iter().zip(&wanted).all(fits)).then_some(password)
    })
}

/// What colons part, where a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(field) = fields.last_mut() {
            field.push(character);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let options = PgConnectOptions::new_without_pgpass().host("db").port(5432).database("pod").username("bridge");
        for (text, password) in [
            ("db:5432:pod:bridge:secret", Some("secret")),
            ("# db:5432:pod:bridge:no\nother:*:*:*:no\n*:*:*:bridge:first\n*:*:*:*:second", Some("first")),
            (r"db:5432:pod:bridge:a\:b\\c", Some(r"a:b\c")),
            ("db:5433:pod:bridge:no\ndb:5432:pod:bridge", None),
            ("db:5432:pod:bridge:two:parts", None),
            ("", None),
        ] {
            assert_eq!(find(text, &options).as_deref(), password, "{text}");
        }
    }

    #[test]
    fn a_passfile_that_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgpass");
        let source = PasswordSource::Passfile(file.clone());
        let apply = || source.apply(PgConnectOptions::new_without_pgpass());
        assert!(matches!(apply(), Err(PasswordError::Unreadable { .. })));
        fs::write(&file, "*:*:*:*:secret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(apply(), Err(PasswordError::Open(_))));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(apply().is_ok());
        fs::write(&file, "\nsecret").unwrap();
        let first_line = PasswordSource::File(file);
        assert!(matches!(first_line.apply(PgConnectOptions::new_without_pgpass()), Err(PasswordError::Empty(_))));
    }
}
