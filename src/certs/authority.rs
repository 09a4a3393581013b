//! A CA of the bridge's own: the development CA, which makes and renews the server certificate of a default install
//! and signs more, and the CA of devices.
//!
//! A CA is not renewed; ten years on, or when its key got out, the directory is removed and
//! made anew at the next start. Certificates of a real CA belong elsewhere, named in the
//! configuration: files of the names used here are replaced when they do not fit.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, ToSpan, tz::Offset};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::{
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{ServerName, UnixTime},
};

use super::{
    CertificateFiles, TlsError,
    file::{self, PRIVATE, PUBLIC},
    server_config::{check_key, read_certificates, read_roots},
};

/// Validity of the CA in days: 10 years.
pub(super) const CA_DAYS: i64 = 3_650;

/// Validity of what it signs in days. Apple's clients refuse more than 825, also from private CAs.
const LEAF_DAYS: i64 = 820;

/// The server certificate is renewed at a start this long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Longest common name that X.509 allows, in characters (RFC 5280 appendix A, ub-common-name).
const MAXIMUM_COMMON_NAME: usize = 64;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// It is there already.
    #[error("{} exists; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// The name makes no file name.
    #[error(
        "{0:?} cannot be a name: expected up to 64 letters, digits, '.', '-' and '_', not starting with '.' or '-'"
    )]
    Name(String),
    /// `ca` is the CA's own.
    #[error("the name \"ca\" is taken by the CA itself")]
    Reserved,
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The CA's files are there but of no use.
    #[error("{} and its key are not those of a CA: {source}", file.display())]
    Authority {
        /// The CA's certificate.
        file: PathBuf,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// No certificate is in the file.
    #[error("{} is not a certificate", .0.display())]
    NotACertificate(PathBuf),
    /// The certificate could not be made.
    #[error("cannot make the certificate \"{name}\": {source}")]
    Sign {
        /// Its name.
        name: String,
        /// The reason.
        source: rcgen::Error,
    },
    /// What was made is no good.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server that clients verify.
    Server,
    /// A device that shows who it is; its name is the certificate's common name.
    Device,
}

/// The directory of a CA.
#[derive(Clone, Debug)]
pub struct LocalAuthority {
    pub(super) dir: PathBuf,
    /// What it is for, in its name.
    kind: &'static str,
}

impl LocalAuthority {
    /// The development CA in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), kind: "development" }
    }

    /// The CA of devices in `dir`, which need not exist yet.
    pub fn of_devices(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), kind: "devices" }
    }

    /// The CA's own files.
    #[must_use]
    pub fn authority(&self) -> CertificateFiles {
        CertificateFiles::in_dir(&self.dir, "ca")
    }

    /// The certificate of this machine, made or renewed where there is none that every client
    /// accepts for another 30 days; so is the CA where there is none. Writes nothing otherwise.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the CA there cannot sign.
    pub fn ensure_server(&self) -> Result<CertificateFiles, CertsError> {
        let files = CertificateFiles::in_dir(&self.dir, "server");
        let names = local_names();
        if self.serves(&files, &names, RENEW_BEFORE) {
            return Ok(files);
        }
        self.ensure_authority()?;
        self.issue(Purpose::Server, "server", &names, &self.dir, true)
    }

    /// Makes the CA where there is none.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn ensure_authority(&self) -> Result<(), CertsError> {
        let authority = self.authority();
        if !authority.cert.exists() && !authority.key.exists() {
            self.make_authority(false)?;
        }
        Ok(())
    }

    /// Makes the CA. What an earlier one signed is worth nothing then.
    ///
    /// # Errors
    /// When it exists and `replace` is not set, or a file cannot be written.
    pub fn make_authority(&self, replace: bool) -> Result<CertificateFiles, CertsError> {
        let name = format!("synap-mqtt {} CA of {}", self.kind, host_name());
        let mut params = params(&name.chars().take(MAXIMUM_COMMON_NAME).collect::<String>(), CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let sign = |source| CertsError::Sign { name: "ca".to_owned(), source };
        let key = new_key().map_err(sign)?;
        let certificate = params.self_signed(&key).map_err(sign)?;
        write(&self.dir, "ca", &certificate.pem(), &key, replace)
    }

    /// Signs a certificate and writes it as `<name>.pem` and `<name>.key` into `out`.
    ///
    /// # Errors
    /// When it exists and `replace` is not set, a name cannot stand in a certificate, or a file
    /// cannot be read or written.
    pub fn issue(
        &self,
        purpose: Purpose,
        name: &str,
        alternative_names: &[String],
        out: &Path,
        replace: bool,
    ) -> Result<CertificateFiles, CertsError> {
        Self::check_name(name)?;
        let issuer = self.issuer()?;
        let sign = |source| CertsError::Sign { name: name.to_owned(), source };
        let mut params = params(name, LEAF_DAYS);
        params.subject_alt_names = CertificateParams::new(alternative_names).map_err(sign)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Device => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = new_key().map_err(sign)?;
        let certificate = params.signed_by(&key, &issuer).map_err(sign)?;
        write(out, name, &certificate.pem(), &key, replace)
    }

    /// What [`LocalAuthority::issue`] says of a name.
    ///
    /// # Errors
    /// When it makes no file name and no common name, or is the CA's.
    pub fn check_name(name: &str) -> Result<(), CertsError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty()
            || name.len() > MAXIMUM_COMMON_NAME
            || name.starts_with(['.', '-'])
            || !name.chars().all(plain)
        {
            return Err(CertsError::Name(name.to_owned()));
        }
        if name == "ca" { Err(CertsError::Reserved) } else { Ok(()) }
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, CertsError> {
        let authority = self.authority();
        let read =
            |file: &Path| fs::read_to_string(file).map_err(|source| CertsError::File { file: file.to_owned(), source });
        check_key(&authority, &ring::default_provider())?;
        let (cert, key) = (read(&authority.cert)?, read(&authority.key)?);
        KeyPair::from_pem(&key)
            .and_then(|key| Issuer::from_ca_cert_pem(&cert, key))
            .map_err(|source| CertsError::Authority { file: authority.cert, source })
    }

    /// Whether clients that trust the CA accept these files under each of the names, now and
    /// for `ahead`: `rustls` itself is asked.
    fn serves(&self, files: &CertificateFiles, names: &[String], ahead: Duration) -> bool {
        let provider = Arc::new(ring::default_provider());
        let verified = || -> Option<bool> {
            check_key(files, &provider).ok()?;
            let chain = read_certificates(&files.cert).ok()?;
            let (leaf, intermediates) = chain.split_first()?;
            let roots = Arc::new(read_roots(&self.authority().cert).ok()?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().ok()?;
            let now = Duration::from_secs(UnixTime::now().as_secs());
            let accepts = |name: &String, at| {
                let name = ServerName::try_from(name.as_str());
                name.is_ok_and(|name| verifier.verify_server_cert(leaf, intermediates, &name, &[], at).is_ok())
            };
            let times = [now, now + ahead].map(UnixTime::since_unix_epoch);
            Some(names.iter().all(|name| times.iter().all(|at| accepts(name, *at))))
        };
        verified() == Some(true)
    }
}

/// Every name under which clients on this machine and beside it may know it.
#[must_use]
pub fn local_names() -> Vec<String> {
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let mut names = vec!["localhost".to_owned()];
    names.extend(addresses.map(|address| address.to_string()));
    // A host name that DNS does not allow cannot stand in a certificate.
    let host = host_name();
    if !names.contains(&host) && ServerName::try_from(host.as_str()).is_ok() {
        names.push(host);
    }
    names
}

/// The name of this machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A subject and a validity that starts yesterday, so that a client whose clock is behind
/// accepts it.
fn params(common_name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = midnight(-1, date_time_ymd);
    params.not_after = midnight(days, date_time_ymd);
    params
}

/// The start of the day that is so many days from today.
pub(super) fn midnight<T>(days: i64, of_day: impl Fn(i32, u8, u8) -> T) -> T {
    let date = Offset::UTC.to_datetime(Timestamp::now()).date().saturating_add(days.days());
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    of_day(date.year().into(), part(date.month()), part(date.day()))
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

fn write(dir: &Path, name: &str, pem: &str, key: &KeyPair, replace: bool) -> Result<CertificateFiles, CertsError> {
    let files = CertificateFiles::in_dir(dir, name);
    if let Some(file) = [&files.cert, &files.key].into_iter().find(|file| !replace && file.exists()) {
        return Err(CertsError::Exists(file.clone()));
    }
    let failed = |file: &Path| {
        let file = file.to_owned();
        |source| CertsError::File { file, source }
    };
    file::create_dir(dir).map_err(failed(dir))?;
    file::write(&files.key, &key.serialize_pem(), PRIVATE).map_err(failed(&files.key))?;
    file::write(&files.cert, pem, PUBLIC).map_err(failed(&files.cert))?;
    Ok(files)
}
