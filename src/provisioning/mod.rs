//! Devices that an operator lets in, each with a password or a certificate and with topics of its own, and those that
//! have been revoked.
//!
//! Everything is in files of one directory, in forms that other programs know: `passwords` is a password file, `acl` an
//! `acl_file` of mosquitto, `ca.pem` and `crl.pem` are a CA and its revocation list, `issued/` and `revoked/` have the
//! certificates. Only the commands of an operator write there, one at a time; a running bridge sees that files have
//! changed.
//!
//! Order of writing: a device may do something before it can come in, and cannot come in any more before it may do
//! nothing. A command that was interrupted is completed by doing it again.

mod acl;

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::fs::{FlockOperation, flock};

use crate::{
    auth::{NameError, PasswordFile, PasswordFileError, Verifier, VerifierError},
    certs::{CertificateFiles, CertsError, LocalAuthority, Purpose, not_after, write_private},
    limits,
    types::TopicFilter,
};
use acl::Acl;
pub use acl::AclError;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    /// A device of this name is there.
    #[error("there is a device {0} already; `devices revoke {0}` takes away what it has")]
    Exists(String),
    /// A file is there already.
    #[error("{} exists", .0.display())]
    Taken(PathBuf),
    /// There is none.
    #[error("there is no device {0}")]
    Unknown(String),
    /// Passwords.
    #[error(transparent)]
    Passwords(#[from] PasswordFileError),
    /// The name cannot be an account's.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Hashing.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// Certificates; also a name that a certificate cannot have.
    #[error(transparent)]
    Certificates(#[from] CertsError),
    /// Access rules.
    #[error(transparent)]
    Acl(#[from] AclError),
    /// A file or directory.
    #[error("{}: {source}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Which topics a device may use, besides what all may.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// It may publish there.
    pub publish: Vec<TopicFilter>,
    /// It may subscribe there.
    pub subscribe: Vec<TopicFilter>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its user name, and the common name of its certificate.
    pub name: String,
    /// What it proves it with.
    pub credential: Credential,
}

/// What a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A password.
    Password,
    /// A certificate.
    Certificate {
        /// Its end, in seconds since 1970.
        not_after: i64,
    },
}

/// Where devices are written down.
#[derive(Clone, Debug)]
pub struct Registry {
    dir: PathBuf,
    authority: LocalAuthority,
}

impl Registry {
    /// The registry in a directory, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { authority: LocalAuthority::of_devices(&dir), dir }
    }

    /// The password file.
    #[must_use]
    pub fn passwords(&self) -> PathBuf {
        self.dir.join("passwords")
    }

    /// The access rules, in mosquitto's form.
    #[must_use]
    pub fn acl(&self) -> PathBuf {
        self.dir.join("acl")
    }

    /// The CA of the devices' certificates.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.authority.authority().cert
    }

    /// What that CA has taken back.
    #[must_use]
    pub fn revocation_list(&self) -> PathBuf {
        self.authority.revocation_list()
    }

    fn issued_dir(&self) -> PathBuf {
        self.dir.join(ISSUED)
    }

    /// Makes the files that are not there.
    ///
    /// # Errors
    /// When one cannot be read or written.
    pub fn ensure(&self) -> Result<(), ProvisioningError> {
        let _lock = self.lock()?;
        self.make_files()
    }

    /// Lets a device in by a password that is made for it, and returned.
    ///
    /// # Errors
    /// When it exists, cannot have the name, or a file cannot be read or written.
    pub fn add_with_password(&self, name: &str, grants: &Grants) -> Result<String, ProvisioningError> {
        let _lock = self.lock()?;
        self.make_files()?;
        self.expect_new(name)?;
        let mut random = [0; limits::DEVICE_PASSWORD_BYTES];
        getrandom::fill(&mut random).map_err(VerifierError::Random)?;
        let password = URL_SAFE_NO_PAD.encode(random);
        let mut passwords = PasswordFile::read(&self.passwords())?;
        // Nobody guesses it, so that rounds of hashing would protect nothing; and it can be proven by SCRAM.
        passwords.set(name, Verifier::scram_of(password.as_bytes(), limits::PASSWORD_ITERATIONS)?)?;
        self.grant(name, grants)?;
        passwords.write()?;
        Ok(password)
    }

    /// Lets a device in by a certificate that is made for it. With `out`, certificate and key are put there, and only the
    /// certificate stays here, so that it can be revoked.
    ///
    /// # Errors
    /// When it exists, cannot have the name, or a file cannot be read or written.
    pub fn add_with_certificate(
        &self,
        name: &str,
        grants: &Grants,
        out: Option<&Path>,
    ) -> Result<CertificateFiles, ProvisioningError> {
        let _lock = self.lock()?;
        self.make_files()?;
        self.expect_new(name)?;
        let to = out.map(|dir| CertificateFiles::in_dir(dir, name));
        let taken = to.as_ref().and_then(|to| [&to.cert, &to.key].into_iter().find(|file| file.exists()));
        if let Some(file) = taken {
            return Err(ProvisioningError::Taken(file.clone()));
        }
        self.grant(name, grants)?;
        let made = self.authority.issue(Purpose::Device, name, &[], &self.issued_dir(), true)?;
        let Some(to) = to else { return Ok(made) };
        let failed = |source| ProvisioningError::File { file: to.key.clone(), source };
        let key = fs::read_to_string(&made.key).map_err(failed)?;
        write_private(&to.key, &key).map_err(failed)?;
        fs::copy(&made.cert, &to.cert).map_err(failed)?;
        fs::remove_file(&made.key).map_err(failed)?;
        Ok(to)
    }

    /// Keeps a device out from now on, and takes its topics away.
    ///
    /// # Errors
    /// When there is none, or a file cannot be read or written.
    pub fn revoke(&self, name: &str) -> Result<(), ProvisioningError> {
        let _lock = self.lock()?;
        self.make_files()?;
        let mut passwords = PasswordFile::read(&self.passwords())?;
        let had_password = passwords.remove(name)?;
        if had_password {
            passwords.write()?;
        }
        let issued = self.issued(name);
        let had_certificate = issued.exists();
        if had_certificate {
            let revoked = self.revoked(name)?;
            fs::rename(&issued, &revoked).map_err(|source| ProvisioningError::File { file: issued, source })?;
            // It may have been taken elsewhere.
            let _gone = fs::remove_file(self.issued_dir().join(format!("{name}.key")));
        }
        // Also where it was interrupted before.
        self.authority.write_revocation_list(&pem_files(&self.dir.join(REVOKED))?)?;
        let mut acl = Acl::read(&self.acl())?;
        let had_rules = acl.remove(name);
        acl.write()?;
        if had_password || had_certificate || had_rules {
            Ok(())
        } else {
            Err(ProvisioningError::Unknown(name.to_owned()))
        }
    }

    /// All devices, by name.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn list(&self) -> Result<Vec<Device>, ProvisioningError> {
        let passwords = PasswordFile::read_or_new(&self.passwords())?;
        let with_password =
            passwords.names().map(|name| Device { name: name.to_owned(), credential: Credential::Password });
        let mut devices: Vec<_> = with_password.collect();
        for file in pem_files(&self.issued_dir())? {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let not_after = not_after(&file).map_err(CertsError::from)?;
            devices.push(Device { name, credential: Credential::Certificate { not_after } });
        }
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(devices)
    }

    fn grant(&self, name: &str, grants: &Grants) -> Result<(), ProvisioningError> {
        let mut acl = Acl::read(&self.acl())?;
        acl.remove(name);
        acl.add(name, grants);
        Ok(acl.write()?)
    }

    fn expect_new(&self, name: &str) -> Result<(), ProvisioningError> {
        LocalAuthority::check_name(name)?;
        let is_known = self.list()?.iter().any(|device| device.name == name);
        if is_known { Err(ProvisioningError::Exists(name.to_owned())) } else { Ok(()) }
    }

    fn make_files(&self) -> Result<(), ProvisioningError> {
        self.authority.ensure_authority()?;
        for dir in [ISSUED, REVOKED].map(|name| self.dir.join(name)) {
            fs::create_dir_all(&dir).map_err(|source| ProvisioningError::File { file: dir, source })?;
        }
        if !self.revocation_list().exists() {
            self.authority.write_revocation_list(&pem_files(&self.dir.join(REVOKED))?)?;
        }
        if !self.passwords().exists() {
            PasswordFile::read_or_new(&self.passwords())?.write()?;
        }
        if !self.acl().exists() {
            Acl::read(&self.acl())?.write()?;
        }
        Ok(())
    }

    /// One command at a time.
    fn lock(&self) -> Result<File, ProvisioningError> {
        let file = self.dir.join("lock");
        let open = || {
            fs::create_dir_all(&self.dir)?;
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file)?;
            flock(&lock, FlockOperation::LockExclusive)?;
            Ok(lock)
        };
        open().map_err(|source| ProvisioningError::File { file: file.clone(), source })
    }

    fn issued(&self, name: &str) -> PathBuf {
        self.issued_dir().join(format!("{name}.pem"))
    }

    /// A file that is not there yet: a name may have had certificates before.
    fn revoked(&self, name: &str) -> Result<PathBuf, ProvisioningError> {
        let dir = self.dir.join(REVOKED);
        let number = pem_files(&dir)?.len() + 1;
        Ok(dir.join(format!("{number}-{name}.pem")))
    }
}

const ISSUED: &str = "issued";
const REVOKED: &str = "revoked";

/// The certificates in a directory; none where there is no such directory.
fn pem_files(dir: &Path) -> Result<Vec<PathBuf>, ProvisioningError> {
    let failed = |source| ProvisioningError::File { file: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let files: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let is_certificate = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "pem");
    Ok(files.map_err(failed)?.into_iter().filter(is_certificate).collect())
}
