//! What a client's certificate says of the client, and whether it still does.
//!
//! TLS has verified a certificate when it comes here, but for one case: a client that resumes a TLS session shows
//! none, and has the one of the session's beginning. So that is verified again. What a connection keeps of it is a
//! hash of each certificate of its chain, by which a later revocation list finds it.
//!
//! Invariant: a name comes from a certificate that one of the CAs has signed, and in the one form that accounts have.

use std::{fmt, sync::Arc};

use hashbrown::HashSet;
use rustls::{
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use sha2::{Digest, Sha256};
use x509_parser::{extensions::GeneralName, parse_x509_certificate, parse_x509_crl, prelude::X509Certificate};

use super::{User, prepare};

/// Which part of a certificate names its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// The subject's common name.
    CommonName,
    /// The first alternative name that is a DNS name.
    Dns,
    /// The first that is a URI.
    Uri,
    /// The first that is an e-mail address.
    Email,
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommonName => "common name",
            Self::Dns => "DNS name",
            Self::Uri => "URI",
            Self::Email => "e-mail address",
        })
    }
}

/// Why a certificate that a client has shown is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The CA has taken it back.
    #[error("the client's certificate is revoked")]
    Revoked,
    /// Its time is over, or a CA is not trusted any more.
    #[error("the client's certificate, which a resumed TLS session began with, is not valid any more")]
    Invalid,
    /// Where its name should be, there is none that an account can have.
    #[error("the client's certificate has no {0} that can be a user name")]
    Nameless(NamedBy),
}

/// A certificate and its issuer's serial number, hashed.
type Mark = [u8; 32];

/// A certificate that a client has shown.
#[derive(Debug)]
pub struct Certificate {
    chain: Box<[Mark]>,
    /// Whom it names, where that is looked at.
    pub name: Option<User>,
}

/// What a port asks of certificates.
#[derive(Debug)]
pub struct CertificatePolicy {
    verifier: Arc<dyn ClientCertVerifier>,
    revoked: HashSet<Mark, foldhash::fast::RandomState>,
    named_by: Option<NamedBy>,
    binds_client_id: bool,
}

impl CertificatePolicy {
    /// `verifier` is the one that TLS asks, `lists` are those that it knows. With `binds_client_id`, a client has the
    /// client identifier that its certificate names.
    #[must_use]
    pub fn new(
        verifier: Arc<dyn ClientCertVerifier>,
        lists: &[CertificateRevocationListDer<'_>],
        named_by: Option<NamedBy>,
        binds_client_id: bool,
    ) -> Self {
        let mut revoked = HashSet::default();
        for (_, list) in lists.iter().filter_map(|list| parse_x509_crl(list).ok()) {
            let issuer = list.issuer().as_raw();
            revoked.extend(list.iter_revoked_certificates().map(|entry| mark(issuer, entry.raw_serial())));
        }
        Self { verifier, revoked, named_by, binds_client_id }
    }

    /// Whether a client that is named by its certificate must have that client identifier.
    #[must_use]
    pub const fn binds_client_id(&self) -> bool {
        self.binds_client_id
    }

    /// What the certificates of a TLS session say. `is_resumed` where they were verified when it began, and not now.
    ///
    /// # Errors
    /// When they are worth nothing, or name nobody and should.
    pub fn examine(&self, chain: &[CertificateDer<'_>], is_resumed: bool) -> Result<Certificate, CertificateError> {
        let marks = chain.iter().filter_map(|certificate| {
            let (_, certificate) = parse_x509_certificate(certificate).ok()?;
            Some(mark(certificate.issuer().as_raw(), certificate.raw_serial()))
        });
        let mut certificate = Certificate { chain: marks.collect(), name: None };
        if self.is_revoked(&certificate) {
            return Err(CertificateError::Revoked);
        }
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateError::Invalid)?;
        if is_resumed && self.verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).is_err() {
            return Err(CertificateError::Invalid);
        }
        if let Some(by) = self.named_by {
            let (_, leaf) = parse_x509_certificate(leaf).map_err(|_| CertificateError::Nameless(by))?;
            let name = written(&leaf, by).and_then(prepare::name);
            certificate.name = Some(name.ok_or(CertificateError::Nameless(by))?.into());
        }
        Ok(certificate)
    }

    /// Whether a certificate, or one that it was signed with, has been revoked.
    #[must_use]
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        certificate.chain.iter().any(|mark| self.revoked.contains(mark))
    }
}

fn mark(issuer: &[u8], serial: &[u8]) -> Mark {
    let length = (issuer.len() as u64).to_be_bytes();
    Sha256::new().chain_update(length).chain_update(issuer).chain_update(serial).finalize().into()
}

/// The text of a name, as the CA has written it.
fn written<'a>(certificate: &'a X509Certificate<'_>, by: NamedBy) -> Option<&'a str> {
    if by == NamedBy::CommonName {
        return certificate.subject().iter_common_name().next()?.as_str().ok();
    }
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match (by, name) {
        (NamedBy::Dns, GeneralName::DNSName(name))
        | (NamedBy::Uri, GeneralName::URI(name))
        | (NamedBy::Email, GeneralName::RFC822Name(name)) => Some(*name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
    use rustls::{RootCertStore, crypto::ring, server::WebPkiClientVerifier};

    use super::*;

    /// A policy of a new CA, and a certificate of it that ended in this year.
    fn policy_and_certificate(end: i32) -> (CertificatePolicy, CertificateDer<'static>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(["a.example".to_owned(), "b.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "pump-7");
        params.not_after = date_time_ymd(end, 1, 1);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        (CertificatePolicy::new(verifier, &[], Some(NamedBy::Dns), false), leaf.der().clone())
    }

    #[test]
    fn a_certificate_is_verified_again_where_its_session_is_resumed() {
        let (policy, good) = policy_and_certificate(4000);
        assert_eq!(policy.examine(std::slice::from_ref(&good), true).unwrap().name.as_deref(), Some("a.example"));
        let (policy, old) = policy_and_certificate(2020);
        assert_eq!(policy.examine(std::slice::from_ref(&old), true).unwrap_err(), CertificateError::Invalid);
        let (other, _) = policy_and_certificate(4000);
        assert_eq!(other.examine(&[good], true).unwrap_err(), CertificateError::Invalid);
        assert_eq!(other.examine(&[], true).unwrap_err(), CertificateError::Invalid);
    }
}
