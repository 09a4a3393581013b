//! What a start prints: where the bridge listens, where its data lies, what to try next.
//!
//! Lines of the form `listening KIND ADDRESS` are for programs as well as for people.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use crate::{config::Settings, types::ListenAddress};

/// Collects the lines while the parts start.
pub struct Greeting {
    data_dir: PathBuf,
    ca: PathBuf,
    mqtt: Option<SocketAddr>,
    mqtts: Option<SocketAddr>,
    http: Option<SocketAddr>,
    lines: String,
}

impl Greeting {
    /// Nothing listens yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            data_dir: settings.data_dir.clone(),
            ca: settings.certs_dir().join("ca.pem"),
            mqtt: None,
            mqtts: None,
            http: None,
            lines: String::new(),
        }
    }

    /// An MQTT listener is bound; `scheme` says what it speaks.
    pub fn mqtt(&mut self, scheme: &str, address: &ListenAddress) {
        match (scheme, address) {
            ("mqtt", ListenAddress::Network(address)) => drop(self.mqtt.get_or_insert(*address)),
            ("mqtts", ListenAddress::Network(address)) => drop(self.mqtts.get_or_insert(*address)),
            _ => {}
        }
        self.listening(scheme, address);
    }

    /// The HTTP server is bound.
    pub fn http(&mut self, address: SocketAddr) {
        self.http = Some(address);
        self.listening("http", &address.into());
    }

    fn listening(&mut self, kind: &str, address: &ListenAddress) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.lines, "listening {kind} {address}");
    }

    /// Prints everything on standard output.
    ///
    /// # Errors
    /// As standard output says.
    pub fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "synap-mqtt {}", env!("CARGO_PKG_VERSION"))?;
        write!(out, "{}", self.lines)?;
        let data_dir = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
        writeln!(out, "data {}", data_dir.display())?;
        writeln!(out, "\nTry:")?;
        if let Some(address) = self.http {
            writeln!(out, "  curl -N 'http://{address}/api/events/stream?topic=devices/%2B/telemetry'")?;
        }
        if let Some(address) = self.mqtt {
            writeln!(out, "  mosquitto_sub -h {} -p {} -t 'devices/#' -v", address.ip(), address.port())?;
        }
        let tls = self.mqtts.map(|address| (address, format!(" --cafile {}", self.ca.display())));
        if let Some((address, tls)) = tls.or_else(|| self.mqtt.map(|address| (address, String::new()))) {
            writeln!(
                out,
                "  mosquitto_pub -h {} -p {}{tls} -t devices/pump-7/telemetry -q 1 -m '{{\"temperature\":21.5}}'",
                address.ip(),
                address.port()
            )?;
        }
        if let Some(address) = self.http {
            writeln!(out, "Then look at http://{address}/")?;
        }
        out.flush()
    }
}
