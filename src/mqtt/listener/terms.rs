//! What the clients of a port meet, and a running bridge can change: new connections get the new
//! terms, those there are keep the old ones.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::Profile;
use crate::auth::{Certificate, CertificatePolicy};

/// See the module.
pub(super) struct Current {
    pub profile: Arc<Profile>,
    /// Where clients must speak TLS.
    pub tls: Option<TlsAcceptor>,
    /// What is asked of the certificates that clients show.
    pub certificates: Option<Arc<CertificatePolicy>>,
}

/// TLS of a port.
#[derive(Clone, Debug)]
pub struct TlsTerms {
    /// How it is spoken.
    pub config: Arc<ServerConfig>,
    /// What is asked of the certificates that clients show.
    pub certificates: Option<Arc<CertificatePolicy>>,
}

/// The terms of a port, shared with whoever may change them.
#[derive(Clone)]
pub struct Terms(Arc<RwLock<Arc<Current>>>);

impl Terms {
    /// Terms to begin with.
    #[must_use]
    pub fn new(profile: Profile, tls: Option<TlsTerms>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Current::of(profile, tls)))))
    }

    /// Changes them. Whether a port speaks TLS at all does not change: clients would not know.
    pub fn replace(&self, profile: Profile, tls: Option<TlsTerms>) {
        let mut current = self.0.write();
        let new = Current::of(profile, tls);
        let keeps_tls = current.tls.is_some() != new.tls.is_some();
        let Current { tls, certificates, .. } = if keeps_tls { &**current } else { &new };
        let (tls, certificates) = (tls.clone(), certificates.clone());
        *current = Arc::new(Current { tls, certificates, ..new });
    }

    /// Whether a certificate is not good here any more.
    pub(in crate::mqtt) fn has_revoked(&self, certificate: &Certificate) -> bool {
        self.current().certificates.as_ref().is_some_and(|policy| policy.is_revoked(certificate))
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.read())
    }
}

impl Current {
    fn of(profile: Profile, tls: Option<TlsTerms>) -> Self {
        let (config, certificates) = tls.map(|TlsTerms { config, certificates }| (config, certificates)).unzip();
        Self { profile: Arc::new(profile), tls: config.map(TlsAcceptor::from), certificates: certificates.flatten() }
    }
}
