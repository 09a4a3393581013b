//! What a port asks of clients.

use std::sync::Arc;

use super::Authenticator;

/// Whether clients must say who they are, before anything else is done for them.
#[derive(Clone, Debug, Default)]
pub enum Admission {
    /// Nobody is asked, and credentials are not looked at.
    #[default]
    Open,
    /// Who says who they are must prove it; others come in without a name.
    Optional(Arc<Authenticator>),
    /// Everyone must.
    Required(Arc<Authenticator>),
}

impl Admission {
    /// Who checks credentials; none where they are not looked at.
    #[must_use]
    pub const fn authenticator(&self) -> Option<&Arc<Authenticator>> {
        match self {
            Self::Open => None,
            Self::Optional(authenticator) | Self::Required(authenticator) => Some(authenticator),
        }
    }

    /// Whether nobody comes in without credentials.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        matches!(self, Self::Required(_))
    }
}
