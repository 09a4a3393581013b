//! What verifies the certificates of clients: the CAs that sign them, and the lists of those that are revoked.
//!
//! With lists, each CA that clients' certificates lead to must have one: what nobody has listed cannot be told
//! from what somebody has forgotten. A list that is out of date still counts; its time is for whoever warns.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateRevocationListDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use super::{
    TlsError,
    server_config::{read, read_certificates, read_roots},
};

/// Where it is written whose certificates are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The CAs, PEM.
    pub ca: PathBuf,
    /// Lists of revoked certificates, PEM, one or more in the file.
    pub crl: Option<PathBuf>,
    /// Whether clients need not show any.
    pub optional: bool,
}

/// What [`ClientFiles`] say.
#[derive(Debug)]
pub struct ClientVerifier {
    /// Verifies a certificate with its chain, revocation included.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// The lists.
    pub lists: Vec<CertificateRevocationListDer<'static>>,
    /// When the first of the lists ends, in seconds since 1970.
    pub next_update: Option<i64>,
}

/// Reads the files.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn client_verifier(files: &ClientFiles) -> Result<ClientVerifier, TlsError> {
    let lists = files.crl.as_deref().map(|crl| read_lists(crl, &files.ca)).transpose()?;
    let roots = Arc::new(read_roots(&files.ca)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()));
    let builder = if files.optional { builder.allow_unauthenticated() } else { builder };
    let Lists { lists, next_update } = lists.unwrap_or_default();
    let verifier = builder
        .with_crls(lists.iter().cloned())
        .build()
        .map_err(|error| TlsError::ClientCa { file: files.ca.clone(), reason: error.to_string() })?;
    Ok(ClientVerifier { verifier, lists, next_update })
}

/// What [`client_verifier`] would refuse.
#[must_use]
pub fn client_problem(files: &ClientFiles) -> Option<TlsError> {
    client_verifier(files).err()
}

#[derive(Default)]
struct Lists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    next_update: Option<i64>,
}

/// The lists of a file, which has one of each CA.
fn read_lists(file: &Path, ca: &Path) -> Result<Lists, TlsError> {
    let refused = |reason: String| TlsError::RevocationList { file: file.to_owned(), reason };
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Damaged { file: file.to_owned(), source })?;
    if lists.is_empty() {
        return Err(TlsError::NoRevocationList(file.to_owned()));
    }
    let mut issuers = Vec::new();
    let mut next_update = None;
    for list in &lists {
        let (_, list) = parse_x509_crl(list).map_err(|error| refused(error.to_string()))?;
        issuers.push(list.issuer().as_raw().to_vec());
        let ends = list.next_update().map(|time| time.timestamp());
        next_update = [next_update, ends].into_iter().flatten().min();
    }
    for root in read_certificates(ca)? {
        let Ok((_, root)) = parse_x509_certificate(&root) else { continue };
        if !issuers.iter().any(|issuer| issuer == root.subject().as_raw()) {
            return Err(TlsError::Unlisted { file: file.to_owned(), authority: root.subject().to_string() });
        }
    }
    Ok(Lists { lists, next_update })
}
