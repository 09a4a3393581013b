//! `[[listener]]` and `[http]`: where the bridge can be reached.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

/// A port for MQTT clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ListenerSettings {
    /// Address and port.
    #[serde(deserialize_with = "address")]
    pub bind: SocketAddr,
    /// TLS; without it the port speaks plain MQTT.
    #[serde(default, deserialize_with = "tls", skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
}

/// TLS of a listener: `true`, or a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "TlsKeys", into = "TlsKeys")]
pub struct TlsSettings {
    /// What the server shows to clients.
    pub certificate: Certificate,
    /// PEM file of the CA whose clients are let in; without it, clients show no certificate.
    pub client_ca: Option<PathBuf>,
}

/// The server's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// The one that the bridge makes for itself under `data_dir/certs`.
    #[default]
    Development,
    /// PEM files, relative to the working directory.
    Files {
        /// The certificate, followed by its intermediates.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// The HTTP server: stream, page, metrics and health.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct HttpSettings {
    /// Address and port.
    #[serde(deserialize_with = "address")]
    pub bind: SocketAddr,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { bind: loopback(8080) }
    }
}

/// Plain MQTT and MQTT over TLS, on their registered ports, for this machine only.
pub(super) fn default_listeners() -> Vec<ListenerSettings> {
    vec![
        ListenerSettings { bind: loopback(1883), tls: None },
        ListenerSettings { bind: loopback(8883), tls: Some(TlsSettings::default()) },
    ]
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `tls` as a table.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct TlsKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca: Option<PathBuf>,
}

impl TryFrom<TlsKeys> for TlsSettings {
    type Error = &'static str;

    fn try_from(keys: TlsKeys) -> Result<Self, Self::Error> {
        let certificate = match (keys.cert, keys.key) {
            (None, None) => Certificate::Development,
            (Some(cert), Some(key)) => Certificate::Files { cert, key },
            (Some(_), None) => return Err("`cert` needs its `key`"),
            (None, Some(_)) => return Err("`key` needs its `cert`"),
        };
        Ok(Self { certificate, client_ca: keys.client_ca })
    }
}

impl From<TlsSettings> for TlsKeys {
    fn from(tls: TlsSettings) -> Self {
        let (cert, key) = match tls.certificate {
            Certificate::Development => (None, None),
            Certificate::Files { cert, key } => (Some(cert), Some(key)),
        };
        Self { cert, key, client_ca: tls.client_ca }
    }
}

/// Reads an IP address with its port.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    struct Address;

    impl Visitor<'_> for Address {
        type Value = SocketAddr;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an IP address and a port, such as \"127.0.0.1:1883\" or \"[::1]:1883\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<SocketAddr, E> {
            text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Address)
}

/// Reads `true`, `false` or a table.
fn tls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TlsSettings>, D::Error> {
    struct Tls;

    impl<'de> Visitor<'de> for Tls {
        type Value = Option<TlsSettings>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or a table such as { cert = \"server.pem\", key = \"server.key\" }")
        }

        fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
            Ok(on.then(TlsSettings::default))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            TlsSettings::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Tls)
}
