//! Payloads in formats other than JSON, as JSON.
//!
//! Which format a payload is in, the route says, or else the content type that the publisher
//! gave, or else the topic, where it is one of Sparkplug's. A payload that is not in its format is
//! kept as it is and the event says why: nothing is lost, and nothing a stranger sends can take
//! more than [`limits::MAXIMUM_DECODED_BYTES`](crate::limits) or stops the bridge.

mod birth;
mod cbor;
mod error;
mod json;
mod msgpack;
mod protobuf;
mod sparkplug;
#[cfg(test)]
mod tests;

pub use birth::Birth;
pub use error::DecodeError;

/// How payloads are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoder {
    /// As content type or topic say; without them JSON, else text, else bytes.
    #[default]
    Auto,
    /// JSON.
    Json,
    /// A number, or text whatever it looks like.
    Text,
    /// Bytes whatever they look like.
    Raw,
    /// RFC 8949
    Cbor,
    /// MessagePack.
    MsgPack,
    /// Sparkplug B payloads.
    SparkplugB,
}

impl Decoder {
    /// What a route that leaves it open means for one publication.
    pub fn or_told_by(self, content_type: Option<&str>, topic: &str) -> Self {
        match (self, content_type) {
            (Self::Auto, Some(content_type)) => Self::of_content_type(content_type),
            (Self::Auto, None) if Message::of(topic).is_some() => Self::SparkplugB,
            _ => self,
        }
    }

    /// The format that a media type (RFC 6838) stands for. JSON and text are told apart by
    /// looking, and so is what is not known here.
    fn of_content_type(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "application/cbor" => Self::Cbor,
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Self::MsgPack,
            "application/octet-stream" => Self::Raw,
            suffixed if suffixed.ends_with("+cbor") => Self::Cbor,
            suffixed if suffixed.ends_with("+msgpack") => Self::MsgPack,
            _ => Self::Auto,
        }
    }

    /// Its name, for a format that is not JSON.
    pub const fn binary_name(self) -> Option<&'static str> {
        match self {
            Self::Cbor => Some("cbor"),
            Self::MsgPack => Some("msgpack"),
            Self::SparkplugB => Some("sparkplug-b"),
            Self::Auto | Self::Json | Self::Text | Self::Raw => None,
        }
    }
}

/// A payload of a binary format as JSON; none for the formats that are text or bytes already.
pub fn to_json(decoder: Decoder, payload: &[u8], birth: &Birth) -> Option<Result<String, DecodeError>> {
    match decoder {
        Decoder::Cbor => Some(cbor::to_json(payload)),
        Decoder::MsgPack => Some(msgpack::to_json(payload)),
        Decoder::SparkplugB => Some(sparkplug::to_json(payload, birth)),
        Decoder::Auto | Decoder::Json | Decoder::Text | Decoder::Raw => None,
    }
}

/// What a Sparkplug topic says: `spBv1.0/{group}/{kind}/{node}[/{device}]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whether it is a birth certificate.
    pub birth: bool,
    group: &'a str,
    node: &'a str,
    device: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// Reads a topic; none where it is no Sparkplug topic with a Sparkplug payload.
    pub fn of(topic: &'a str) -> Option<Self> {
        let mut levels = topic.strip_prefix("spBv1.0/")?.split('/');
        let (group, kind, node, device) = (levels.next()?, levels.next()?, levels.next()?, levels.next());
        let device_kind = matches!(kind, "DBIRTH" | "DDATA" | "DDEATH" | "DCMD");
        let node_kind = matches!(kind, "NBIRTH" | "NDATA" | "NDEATH" | "NCMD");
        let fits = (device_kind && device.is_some() || node_kind && device.is_none()) && levels.next().is_none();
        fits.then_some(Self { birth: kind.ends_with("BIRTH"), group, node, device })
    }

    /// What has births of its own: a node, or a device of it.
    pub fn source(&self) -> String {
        let Self { group, node, device, .. } = self;
        device.map_or_else(|| format!("{group}/{node}"), |device| format!("{group}/{node}/{device}"))
    }
}
