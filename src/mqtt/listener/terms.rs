//! What the clients of a port meet, and a running bridge can change: new connections get the new
//! terms, those there are keep the old ones.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::Profile;

/// See the module.
pub(super) struct Current {
    pub profile: Arc<Profile>,
    /// Where clients must speak TLS.
    pub tls: Option<TlsAcceptor>,
}

/// The terms of a port, shared with whoever may change them.
#[derive(Clone)]
pub struct Terms(Arc<RwLock<Arc<Current>>>);

impl Terms {
    /// Terms to begin with.
    #[must_use]
    pub fn new(profile: Profile, tls: Option<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Current::of(profile, tls)))))
    }

    /// Changes them. Whether a port speaks TLS at all does not change: clients would not know.
    pub fn replace(&self, profile: Profile, tls: Option<Arc<ServerConfig>>) {
        let mut current = self.0.write();
        let tls = if current.tls.is_some() == tls.is_some() { tls.map(TlsAcceptor::from) } else { current.tls.clone() };
        *current = Arc::new(Current { profile: Arc::new(profile), tls });
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.read())
    }
}

impl Current {
    fn of(profile: Profile, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { profile: Arc::new(profile), tls: tls.map(TlsAcceptor::from) }
    }
}
