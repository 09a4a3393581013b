//! `[[listener]]` and `[http]`: where the bridge can be reached.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::{
    Authentication,
    profile::ProfileSettings,
    text::{Text, from_text},
    units::{duration, number, optional_number, write_duration},
    web::WebAuthSettings,
};
use crate::{
    limits,
    types::{ListenAddress, ListenAddressError, Origin},
};

/// A port or a socket file for MQTT clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ListenerSettings {
    /// Address and port, or `unix:` and a path.
    #[serde(deserialize_with = "from_text", serialize_with = "write_text")]
    pub bind: ListenAddress,
    /// Permissions of the socket file; only for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// What carries MQTT.
    #[serde(default)]
    pub protocol: Protocol,
    /// Origins of web pages that may connect besides those of the listener itself; only for
    /// WebSocket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<PageOrigin>,
    /// Whether each connection begins with a PROXY protocol header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// TLS; without it the port speaks its protocol plain.
    #[serde(default, deserialize_with = "tls", skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// What its clients may use, where that is not what `[mqtt]` says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mqtt: ProfileSettings,
    /// What clients must say of themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Whether it may be open to other machines and ask nobody who they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_anonymous: bool,
}

fn is_default(settings: &ProfileSettings) -> bool {
    *settings == ProfileSettings::default()
}

/// What carries MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The connection itself.
    #[default]
    Mqtt,
    /// A WebSocket at `/mqtt` or `/`.
    Websocket,
}

/// Permissions of a file, as chmod(1) takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Default for FileMode {
    fn default() -> Self {
        Self(limits::SOCKET_MODE)
    }
}

impl FromStr for FileMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8).map_err(drop)?;
        (is_octal && bits <= 0o777).then_some(Self(bits)).ok_or(())
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The origin of a web page, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOrigin(pub Origin);

impl<'de> Deserialize<'de> for PageOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer).map(Self)
    }
}

impl Serialize for PageOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl ListenerSettings {
    /// What is wrong with it where other machines reach it: it must ask them who they are, or say that it
    /// need not.
    pub(super) fn openness(&self, asked: Authentication) -> Option<String> {
        let asks =
            asked == Authentication::Required || self.tls.as_ref().is_some_and(TlsSettings::requires_certificate);
        (self.bind.is_exposed() && !asks && !self.allow_anonymous).then(|| {
            format!(
                "{} is open to other machines and asks nobody who they are: it needs the accounts of \
                 `auth.password_file` with authentication = \"required\", or tls = {{ client_ca = … }}; \
                 allow_anonymous = true where anyone may be a client",
                self.bind
            )
        })
    }

    /// What is wrong between keys, each with the key to change.
    pub(super) fn check(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let is_file = matches!(self.bind, ListenAddress::Unix(_));
        let is_websocket = self.protocol == Protocol::Websocket;
        let mode = ("mode", "is for a socket file, such as bind = \"unix:/run/synap-mqtt/mqtt.sock\"");
        let origins = ("allowed_origins", "is for web pages, which need protocol = \"websocket\"");
        [
            (self.mode.is_some() && !is_file).then_some(mode),
            (!self.allowed_origins.is_empty() && !is_websocket).then_some(origins),
        ]
        .into_iter()
        .flatten()
    }
}

/// TLS of a listener: `true`, or a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "TlsKeys", into = "TlsKeys")]
pub struct TlsSettings {
    /// What the server shows to clients.
    pub certificate: Certificate,
    /// PEM file of the CA whose clients are let in; without it, clients show no certificate.
    pub client_ca: Option<PathBuf>,
    /// PEM file with lists of revoked certificates.
    pub client_crl: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_certificate: ClientCertificate,
    /// Which part of it is their user name; without it, it says nothing of who they are.
    pub client_identity: Option<ClientIdentity>,
    /// Whether that name must be their client identifier too.
    pub bind_client_id: bool,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    /// Who shows none does not come in.
    #[default]
    Required,
    /// Who shows none must say otherwise who it is, where the listener asks for that.
    Optional,
}

/// The part of a certificate that names its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIdentity {
    /// The subject's common name.
    CommonName,
    /// The first alternative name that is a DNS name.
    Dns,
    /// The first that is a URI.
    Uri,
    /// The first that is an e-mail address.
    Email,
}

impl TlsSettings {
    /// Whether only clients with a certificate come in.
    #[must_use]
    pub fn requires_certificate(&self) -> bool {
        self.client_ca.is_some() && self.client_certificate == ClientCertificate::Required
    }

    /// What is wrong between keys, each with the key to change.
    pub(super) fn check(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let asks = self.client_ca.is_some();
        let needs_ca = "is about the certificates of clients, which need `client_ca`";
        let is_optional = self.client_certificate == ClientCertificate::Optional;
        let unnamed = "certificates that nobody must show, and that name nobody, say nothing: set `client_identity`";
        [
            (self.client_crl.is_some() && !asks).then_some(("client_crl", needs_ca)),
            (is_optional && !asks).then_some(("client_certificate", needs_ca)),
            (self.client_identity.is_some() && !asks).then_some(("client_identity", needs_ca)),
            (is_optional && asks && self.client_identity.is_none()).then_some(("client_certificate", unnamed)),
            (self.bind_client_id && self.client_identity.is_none())
                .then_some(("bind_client_id", "binds to the name in the certificate: set `client_identity`")),
        ]
        .into_iter()
        .flatten()
    }
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
    #[serde(deserialize_with = "from_text")]
    pub bind: SocketAddr,
    /// Origins of web pages that may connect, read and publish, besides its own.
    pub allowed_origins: Vec<PageOrigin>,
    /// What clients of MQTT over WebSocket must say of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Whether those may do everything who do not say who they are, although other machines reach it or others say it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_anonymous: bool,
    /// Connections at one time, streams and WebSockets among them; if not given, as many as the file descriptors
    /// allow.
    #[serde(deserialize_with = "optional_number::<_, _, 1, 1_000_000>", skip_serializing_if = "Option::is_none")]
    pub maximum_connections: Option<usize>,
    /// The same from one address, this machine's excepted.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub maximum_connections_per_address: usize,
    /// Time for which a client may take nothing of what waits for it.
    #[serde(deserialize_with = "duration::<_, 1_000, 3_600_000>", serialize_with = "write_duration")]
    pub write_timeout: Duration,
    /// Who web clients can be.
    #[serde(skip_serializing_if = "WebAuthSettings::is_default")]
    pub auth: WebAuthSettings,
}

impl HttpSettings {
    /// Whether those may do everything who do not say who they are: where nobody can, or where it is written.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.allow_anonymous || !self.auth.is_on()
    }

    /// What is wrong with it where other machines reach it.
    pub(super) fn openness(&self) -> Option<String> {
        (!self.bind.ip().is_loopback() && self.is_open() && !self.allow_anonymous).then(|| {
            format!(
                "{} is open to other machines, and stream, page and stored events ask nobody who they are: say in \
                 [http.auth] who may come in, bind it to 127.0.0.1, or set allow_anonymous = true where anyone may read \
                 every event",
                self.bind
            )
        })
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            bind: loopback(8080),
            allowed_origins: Vec::new(),
            authentication: None,
            auth: WebAuthSettings::default(),
            allow_anonymous: false,
            maximum_connections: None,
            maximum_connections_per_address: limits::HTTP_CONNECTIONS_PER_ADDRESS,
            write_timeout: limits::HTTP_WRITE_TIMEOUT,
        }
    }
}

/// Plain MQTT and MQTT over TLS, on their registered ports, for this machine only.
pub(super) fn default_listeners() -> Vec<ListenerSettings> {
    let listener = |port, tls| ListenerSettings {
        bind: loopback(port).into(),
        mode: None,
        protocol: Protocol::Mqtt,
        allowed_origins: Vec::new(),
        proxy_protocol: false,
        tls,
        mqtt: ProfileSettings::default(),
        authentication: None,
        allow_anonymous: false,
    };
    vec![listener(1883, None), listener(8883, Some(TlsSettings::default()))]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    client_crl: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "is_required")]
    client_certificate: ClientCertificate,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_identity: Option<ClientIdentity>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bind_client_id: bool,
}

fn is_required(certificate: &ClientCertificate) -> bool {
    *certificate == ClientCertificate::Required
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
        let TlsKeys { client_ca, client_crl, client_certificate, client_identity, bind_client_id, .. } = keys;
        Ok(Self { certificate, client_ca, client_crl, client_certificate, client_identity, bind_client_id })
    }
}

impl From<TlsSettings> for TlsKeys {
    fn from(tls: TlsSettings) -> Self {
        let (cert, key) = match tls.certificate {
            Certificate::Development => (None, None),
            Certificate::Files { cert, key } => (Some(cert), Some(key)),
        };
        let TlsSettings { client_ca, client_crl, client_certificate, client_identity, bind_client_id, .. } = tls;
        Self { cert, key, client_ca, client_crl, client_certificate, client_identity, bind_client_id }
    }
}

impl Text for SocketAddr {
    const EXPECTED: &str = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
}

impl Text for ListenAddress {
    const EXPECTED: &str = "an IP address and a port, such as \"127.0.0.1:1883\" or \"[::1]:1883\", or a socket \
                            file, such as \"unix:/run/synap-mqtt/mqtt.sock\"";

    fn fault(error: &ListenAddressError) -> Option<String> {
        (*error != ListenAddressError::Unknown).then(|| error.to_string())
    }
}

impl Text for FileMode {
    const EXPECTED: &str = "permissions in octal, such as \"0660\"";
}

impl Text for Origin {
    const EXPECTED: &str = "the origin of a web page without a path, such as \"https://example.org\"";
}

/// Writes a value as text.
fn write_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
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
