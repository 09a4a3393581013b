//! `synap-mqtt certs`: more of what the first start makes.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use crate::{
    certs::{LocalAuthority, Purpose, local_names},
    config::Settings,
};

/// Which certificate to make.
#[derive(Debug, Subcommand)]
pub enum Certs {
    /// A certificate for a server; without a name, for this machine
    Server {
        /// Name of the files, and first name that the certificate is for
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        leaf: Leaf,
    },
    /// A certificate for a device, which shows it to a listener with `client_ca`
    Device {
        /// Name of the files, and common name of the certificate
        #[arg(long)]
        name: String,
        #[command(flatten)]
        leaf: Leaf,
    },
    /// The CA itself; certificates of the one before are worth nothing then
    Ca {
        /// Replace the one that exists
        #[arg(long)]
        force: bool,
    },
}

/// What servers' and devices' certificates have in common.
#[derive(Debug, Args)]
pub struct Leaf {
    /// DNS name or IP address that it is for too; repeatable
    #[arg(long, value_name = "NAME")]
    san: Vec<String>,
    /// Directory to write to; the CA's own by default
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

impl Certs {
    /// Makes the certificate, and the CA before it where there is none.
    pub(super) fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let certs = LocalAuthority::new(settings.certs_dir());
        let (purpose, name, mut names, leaf) = match self {
            Self::Ca { force } => return report(&certs.make_authority(force)?),
            Self::Server { name: None, leaf } => (Purpose::Server, "server".to_owned(), local_names(), leaf),
            Self::Server { name: Some(name), leaf } => (Purpose::Server, name.clone(), vec![name], leaf),
            Self::Device { name, leaf } => (Purpose::Device, name, Vec::new(), leaf),
        };
        certs.ensure_authority()?;
        names.extend(leaf.san);
        let out = leaf.out.unwrap_or_else(|| settings.certs_dir());
        report(&certs.issue(purpose, &name, &names, &out, leaf.force)?)
    }
}

fn report(files: &crate::certs::CertificateFiles) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}\n{}", files.cert.display(), files.key.display())?;
    Ok(())
}
