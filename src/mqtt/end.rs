//! Why a connection ends, and the one mapping to MQTT reason codes.

use std::io;

use super::{
    authenticate::Unauthenticated,
    codec::{DecodeError, ReasonCode},
};

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// DISCONNECT with reason 0x00: the will is deleted.
    #[error("the client disconnected")]
    Disconnected,
    /// DISCONNECT with another reason: the will is published.
    #[error("the client disconnected and wants its will published")]
    DisconnectedWithWill,
    /// The client closed the connection without a DISCONNECT.
    #[error("the client closed the connection")]
    Closed,
    /// The network failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// A packet that breaks the standard.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A packet that is well formed and not allowed now.
    #[error("{1}")]
    Forbidden(ReasonCode, &'static str),
    /// The client has not proven who it is.
    #[error(transparent)]
    Unauthenticated(Unauthenticated),
    /// The token that let the client in has expired.
    #[error("the client's token has expired")]
    TokenExpired,
    /// Nothing received for one and a half times the keep alive [MQTT-3.1.2-22].
    #[error("nothing was received for one and a half times the keep alive")]
    KeepAlive,
    /// A new connection has the same client identifier [MQTT-3.1.4-3].
    #[error("another connection took the session over")]
    TakenOver,
    /// Too many connections that are not let in yet.
    #[error("it made room for later connections before it was let in")]
    PushedOut,
    /// The process ends.
    #[error("the bridge is shutting down")]
    ShuttingDown,
    /// No room, and no way to say so in this version of the protocol or packet.
    #[error("the journal is full")]
    QuotaExceeded,
    /// The journal has failed.
    #[error("the journal has failed: nothing can be acknowledged")]
    JournalFailed,
}

impl End {
    /// What a DISCONNECT from the server says; none where the client ended it.
    #[must_use]
    pub const fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Disconnected | Self::DisconnectedWithWill | Self::Closed | Self::Io(_) | Self::PushedOut => None,
            Self::Malformed(error) => Some(error.reason()),
            Self::Forbidden(reason, _) => Some(*reason),
            Self::Unauthenticated(why) => Some(why.reason()),
            Self::TokenExpired => Some(ReasonCode::MaximumConnectTime),
            Self::KeepAlive => Some(ReasonCode::KeepAliveTimeout),
            Self::TakenOver => Some(ReasonCode::SessionTakenOver),
            Self::ShuttingDown => Some(ReasonCode::ServerShuttingDown),
            Self::QuotaExceeded => Some(ReasonCode::QuotaExceeded),
            Self::JournalFailed => Some(ReasonCode::UnspecifiedError),
        }
    }

    /// What the event of a connection's end calls it (docs/mapping.md).
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnect",
            Self::DisconnectedWithWill => "disconnect-with-will",
            Self::Closed => "connection-closed",
            Self::Io(_) => "connection-lost",
            Self::Forbidden(ReasonCode::NotAuthorized, _) | Self::Unauthenticated(_) => "not-authorized",
            Self::Malformed(_) | Self::Forbidden(..) => "protocol-error",
            Self::TokenExpired => "token-expired",
            Self::KeepAlive => "keep-alive-timeout",
            Self::TakenOver => "taken-over",
            Self::PushedOut => "pushed-out",
            Self::ShuttingDown => "shutting-down",
            Self::QuotaExceeded => "quota-exceeded",
            Self::JournalFailed => "journal-failed",
        }
    }

    /// Whether the client broke a rule, which an operator may want to know.
    #[must_use]
    pub const fn is_protocol_error(&self) -> bool {
        // Of those that are not heard the log has told when that began.
        if matches!(self, Self::Unauthenticated(Unauthenticated::Banned)) {
            return false;
        }
        matches!(self, Self::Malformed(_) | Self::Forbidden(..) | Self::Unauthenticated(_))
    }
}
