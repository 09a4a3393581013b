//! `synap-mqtt devices`: who comes in, with what, and to which topics.

use std::{
    io::{self, IsTerminal, Write},
    net::IpAddr,
    path::PathBuf,
    thread,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use qrcode::{QrCode, render::unicode::Dense1x2};

use crate::{
    certs::{CertificateFiles, host_name},
    config::{Certificate, Settings},
    limits,
    provisioning::{Credential, Grants, Registry},
    types::{ListenAddress, TopicFilter},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Devices {
    /// Let a device in, with a password that is made and shown once, or with a certificate
    Add(Add),
    /// Show the devices
    List,
    /// Keep a device out: a running bridge closes its connections within two seconds
    Revoke {
        /// Its name
        name: String,
    },
}

/// A new device.
#[derive(Debug, Args)]
pub struct Add {
    /// Its user name, and the common name of its certificate: up to 64 letters, digits, '.', '-' and '_'
    name: String,
    /// Make a certificate in the place of a password; needs a listener with TLS
    #[arg(long)]
    certificate: bool,
    /// Directory for the certificate and its key; `devices/issued` of the data directory by default
    #[arg(long, value_name = "DIR", requires = "certificate")]
    out: Option<PathBuf>,
    /// Topic filter that it may publish to; repeatable. Without any grant, everything below devices/NAME/
    #[arg(long, value_name = "FILTER")]
    publish: Vec<TopicFilter>,
    /// Topic filter that it may subscribe to; repeatable
    #[arg(long, value_name = "FILTER")]
    subscribe: Vec<TopicFilter>,
    /// Name or address under which the device reaches this machine
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Show a QR code of the address with name and password; on a terminal it is shown anyway
    #[arg(long, conflicts_with = "certificate")]
    qr: bool,
}

impl Devices {
    /// Does it, and says what was done. What was added can be used when this ends: a running bridge has read the files by
    /// then, and would else refuse a device that it does not know yet, or accept it without its topics.
    pub(super) fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let registry = Registry::new(settings.known_devices_dir());
        let mut out = io::stdout().lock();
        match self {
            Self::Add(add) => {
                add.run(settings, &registry, &mut out)?;
                out.flush()?;
                if settings.devices_dir().is_some() {
                    thread::sleep(limits::FILES_IN_EFFECT);
                }
            }
            Self::List => list(&registry, &mut out)?,
            Self::Revoke { name } => {
                registry.revoke(&name)?;
                writeln!(out, "revoked {name}")?;
            }
        }
        if settings.devices_dir().is_none() {
            writeln!(io::stderr(), "synap-mqtt: not in effect until the configuration says `[auth] devices = true`")?;
        }
        Ok(())
    }
}

fn list(registry: &Registry, out: &mut impl Write) -> anyhow::Result<()> {
    for device in registry.list()? {
        match device.credential {
            Credential::Password => writeln!(out, "{}\tpassword", device.name)?,
            Credential::Certificate { not_after } => {
                let end = Timestamp::from_second(not_after).context("read the end of a certificate")?;
                writeln!(out, "{}\tcertificate until {end:.0}", device.name)?;
            }
        }
    }
    Ok(())
}

impl Add {
    fn run(self, settings: &Settings, registry: &Registry, out: &mut impl Write) -> anyhow::Result<()> {
        let door = Door::of(settings, self.host.as_deref());
        let grants = self.grants()?;
        let name = &self.name;
        if self.certificate {
            let files = registry.add_with_certificate(name, &grants, self.out.as_deref())?;
            writeln!(out, "added {name}")?;
            grants_line(out, &grants)?;
            writeln!(out, "certificate: {}", files.cert.display())?;
            writeln!(out, "key:         {}", files.key.display())?;
            return writeln!(out, "\n{}", door.command_with_certificate(name, &grants, &files)).map_err(Into::into);
        }
        let password = registry.add_with_password(name, &grants)?;
        writeln!(out, "added {name}")?;
        grants_line(out, &grants)?;
        writeln!(out, "user name:   {name}")?;
        writeln!(out, "password:    {password}")?;
        writeln!(out, "\n{}", door.command_with_password(name, &grants, &password))?;
        if self.qr || io::stdout().is_terminal() {
            let code = QrCode::new(door.address(name, &password)).context("make the QR code")?;
            writeln!(out, "\n{}", code.render::<Dense1x2>().build())?;
        }
        Ok(())
    }

    fn grants(&self) -> anyhow::Result<Grants> {
        if !self.publish.is_empty() || !self.subscribe.is_empty() {
            return Ok(Grants { publish: self.publish.clone(), subscribe: self.subscribe.clone() });
        }
        let own: TopicFilter = format!("devices/{}/#", self.name).parse().context("make the device's topic")?;
        Ok(Grants { publish: vec![own.clone()], subscribe: vec![own] })
    }
}

fn grants_line(out: &mut impl Write, grants: &Grants) -> io::Result<()> {
    for (what, filters) in [("publish:    ", &grants.publish), ("subscribe:  ", &grants.subscribe)] {
        if !filters.is_empty() {
            let filters: Vec<_> = filters.iter().map(ToString::to_string).collect();
            writeln!(out, "{what} {}", filters.join(" "))?;
        }
    }
    Ok(())
}

/// Where a device comes in: the first listener with TLS, else the first.
struct Door {
    host: String,
    port: u16,
    is_tls: bool,
    /// The CA that the device must know, where it is not one that everybody does.
    authority: Option<PathBuf>,
}

impl Door {
    fn of(settings: &Settings, host: Option<&str>) -> Self {
        let listeners = || settings.listeners.iter();
        let address = |listener: &crate::config::ListenerSettings| match listener.bind {
            ListenAddress::Network(address) => Some(address),
            ListenAddress::Unix(_) => None,
        };
        let with_tls = listeners().find(|listener| listener.tls.is_some() && address(listener).is_some());
        let listener = with_tls.or_else(|| listeners().find(|listener| address(listener).is_some()));
        let bound = listener.and_then(address);
        let tls = listener.and_then(|listener| listener.tls.as_ref());
        let authority = tls.and_then(|tls| match &tls.certificate {
            Certificate::Development => Some(settings.certs_dir().join("ca.pem")),
            Certificate::Files { .. } => None,
        });
        let by_address = bound.map(|bound| match bound.ip() {
            ip if ip.is_unspecified() => host_name(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            ip @ IpAddr::V4(_) => ip.to_string(),
        });
        Self {
            host: host.map(str::to_owned).or(by_address).unwrap_or_else(host_name),
            port: bound.map_or(0, |bound| bound.port()),
            is_tls: tls.is_some(),
            authority,
        }
    }

    /// `mqtts://user:password@host:port`, or `mqtt` without TLS.
    fn address(&self, name: &str, password: &str) -> String {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        format!("{scheme}://{name}:{password}@{}:{}", self.host, self.port)
    }

    fn command_with_password(&self, name: &str, grants: &Grants, password: &str) -> String {
        // A password may begin with a hyphen, which mosquitto_pub takes all the same.
        self.command(grants, &format!("-i {name} -u {name} -P '{password}'"))
    }

    fn command_with_certificate(&self, name: &str, grants: &Grants, files: &CertificateFiles) -> String {
        let credential = format!("-i {name} --cert '{}' --key '{}'", files.cert.display(), files.key.display());
        self.command(grants, &credential)
    }

    /// Of mosquitto_pub, or of mosquitto_sub for a device that may only listen.
    fn command(&self, grants: &Grants, credential: &str) -> String {
        let host = self.host.trim_matches(['[', ']']);
        let trust = match &self.authority {
            Some(file) => format!("--cafile '{}' ", file.display()),
            None if self.is_tls => "--tls-use-os-certs ".to_owned(),
            None => String::new(),
        };
        let reach = format!("-h {host} -p {} {trust}{credential} -q 1", self.port);
        match (grants.publish.first(), grants.subscribe.first()) {
            (None, Some(filter)) => format!("mosquitto_sub {reach} -t '{filter}' -v"),
            (filter, _) => {
                let filter = filter.map(ToString::to_string).unwrap_or_default();
                let topic = filter.replace('#', "telemetry").replace('+', "any");
                format!("mosquitto_pub {reach} -t '{topic}' -m 21.5")
            }
        }
    }
}
