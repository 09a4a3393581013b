//! From PEM files to a `rustls` server configuration.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::danger::ClientCertVerifier,
};

use x509_parser::parse_x509_certificate;

use super::CertificateFiles;

/// Why a listener cannot speak TLS. Each names the file to look at.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A PEM section is damaged.
    #[error("{} is no PEM file: {source}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// No `BEGIN CERTIFICATE`.
    #[error("{} holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// No private key, or an encrypted one.
    #[error("{} holds no unencrypted private key in PEM form", .0.display())]
    NoKey(PathBuf),
    /// The key belongs to another certificate.
    #[error("the private key {} is not the one of the certificate {}", key.display(), cert.display())]
    OtherKey {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// `rustls` refuses what is in the file.
    #[error("{} cannot be used: {source}", file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// `rustls` refuses a CA for client certificates.
    #[error("{} cannot be used to verify clients: {reason}", file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No `BEGIN X509 CRL`.
    #[error("{} holds no revocation list in PEM form", .0.display())]
    NoRevocationList(PathBuf),
    /// A revocation list that is none.
    #[error("{} cannot be used as revocation list: {reason}", file.display())]
    RevocationList {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A CA without a revocation list: its clients could never come in.
    #[error("{} has no revocation list of the CA {authority}", file.display())]
    Unlisted {
        /// The file with the lists.
        file: PathBuf,
        /// The CA's subject.
        authority: String,
    },
}

impl TlsError {
    /// The file to look at.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::NoCertificate(file)
            | Self::NoKey(file)
            | Self::NoRevocationList(file)
            | Self::OtherKey { key: file, .. } => file,
            Self::Unreadable { file, .. }
            | Self::Damaged { file, .. }
            | Self::Refused { file, .. }
            | Self::ClientCa { file, .. }
            | Self::RevocationList { file, .. }
            | Self::Unlisted { file, .. } => file,
        }
    }
}

/// What [`server_config`] would refuse in a certificate and its key.
#[must_use]
pub fn certificate_problems(files: &CertificateFiles) -> Vec<TlsError> {
    let unusable = [read_certificates(&files.cert).err(), read_key(&files.key).err()];
    let problems: Vec<_> = unusable.into_iter().flatten().collect();
    if problems.is_empty() { server_config(files, None, &[]).err().into_iter().collect() } else { problems }
}

/// What is wrong with a file that must hold certificates.
#[must_use]
pub fn certificates_problem(file: &Path) -> Option<TlsError> {
    read_certificates(file).err()
}

/// What is wrong with a file that must hold a private key.
#[must_use]
pub fn key_problem(file: &Path) -> Option<TlsError> {
    read_key(file).err()
}

/// TLS 1.2 and 1.3 with this certificate. With `clients`, clients are asked for a certificate that it
/// takes. `alpn` lists protocols in the order of preference; a client that
/// offers none is let in, one that offers only others is not (RFC 7301 section 3.2).
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn server_config(
    files: &CertificateFiles,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |file: &Path| {
        let file = file.to_owned();
        |source| TlsError::Refused { file, source }
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(refused(&files.cert))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients),
    };
    check_key(files, &provider)?;
    let mut config = builder
        .with_single_cert(read_certificates(&files.cert)?, read_key(&files.key)?)
        .map_err(refused(&files.cert))?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Devices that come back resume without a signature; the default remembers 256 of them. Tickets are of this
    // configuration alone: after a change of CAs or revocation lists everybody shows a certificate again.
    config.ticketer = ring::Ticketer::new().map_err(refused(&files.key))?;
    Ok(Arc::new(config))
}

/// When the certificate of a file ends, in seconds since 1970.
///
/// # Errors
/// When there is no certificate in it.
pub fn not_after(file: &Path) -> Result<i64, TlsError> {
    let unusable = || TlsError::NoCertificate(file.to_owned());
    let chain = read_certificates(file)?;
    let (_, leaf) = chain.first().and_then(|leaf| parse_x509_certificate(leaf).ok()).ok_or_else(unusable)?;
    Ok(leaf.validity().not_after.timestamp())
}

/// Whether the key is usable and the certificate's own.
pub(super) fn check_key(files: &CertificateFiles, provider: &CryptoProvider) -> Result<(), TlsError> {
    let chain = read_certificates(&files.cert)?;
    let key = provider
        .key_provider
        .load_private_key(read_key(&files.key)?)
        .map_err(|source| TlsError::Refused { file: files.key.clone(), source })?;
    match rustls::sign::CertifiedKey::new(chain, key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::OtherKey { cert: files.cert.clone(), key: files.key.clone() })
        }
        Err(source) => Err(TlsError::Refused { file: files.cert.clone(), source }),
    }
}

/// The certificates of a file; at least one.
pub(super) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Damaged { file: file.to_owned(), source })?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(file.to_owned())) } else { Ok(certificates) }
}

/// The certificates of a file as trust anchors.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn read_roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::ClientCa { file: file.to_owned(), reason: error.to_string() })?;
    }
    Ok(roots)
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(file.to_owned()),
        source => TlsError::Damaged { file: file.to_owned(), source },
    })
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
}
