//! Quality of service.

use std::fmt;

/// MQTT's quality of service levels, ordered by strength (MQTT 5.0 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0: best effort.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: guaranteed, possibly more than once.
    AtLeastOnce = 1,
    /// QoS 2: exactly once.
    ExactlyOnce = 2,
}

/// A QoS value other than 0, 1 or 2 [MQTT-3.3.1-4].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("QoS must be 0, 1 or 2, not {0}")]
pub struct QosError(pub u8);

impl TryFrom<u8> for Qos {
    type Error = QosError;

    fn try_from(value: u8) -> Result<Self, QosError> {
        match value {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            other => Err(QosError(other)),
        }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos as Self
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u8)
    }
}
