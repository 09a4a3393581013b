//! The client identifier of an MQTT session.

use std::{fmt, str::FromStr, sync::Arc};

/// A client identifier: 1 to 65,535 bytes of UTF-8 without U+0000
/// (MQTT 5.0 section 3.1.3.1). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

/// Why a string is not a client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdError {
    /// The zero-length identifier: the server must assign one instead.
    #[error("a client identifier must not be empty")]
    Empty,
    /// Longer than a UTF-8 encoded string can be (section 1.5.4).
    #[error("a client identifier has at most 65,535 bytes")]
    TooLong,
    /// Contains U+0000 [MQTT-1.5.4-2].
    #[error("a client identifier must not contain U+0000")]
    Nul,
}

impl ClientId {
    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        if text.is_empty() {
            return Err(ClientIdError::Empty);
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(ClientIdError::TooLong);
        }
        if text.contains('\0') {
            return Err(ClientIdError::Nul);
        }
        Ok(Self(text.into()))
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
