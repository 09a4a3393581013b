//! Certificates: the bridge's own CAs with what they sign and revoke, and TLS for a listener.
//!
//! Runs at start and in the commands `certs` and `devices`; owns `data_dir/certs` and nothing else. Knows no
//! other room: whoever has settings passes paths. A failure names the file and what is wrong
//! with it; nothing half-written is left under a final name.

mod authority;
mod clients;
mod file;
mod revocation;
mod server_config;

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use authority::{CertsError, LocalAuthority, Purpose, host_name, local_names};
pub use clients::{ClientFiles, ClientVerifier, client_problem, client_verifier};
pub use server_config::{
    TlsError, certificate_problems, certificates_problem, key_problem, not_after, read_roots, server_config,
};

/// Writes a file that only its owner may read, in place of one that may be there, whole or not at all.
///
/// # Errors
/// As the system says.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    file::write(path, text, file::PRIVATE)
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// The private key; only its owner may read it.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// `<name>.pem` and `<name>.key` of a directory.
    #[must_use]
    pub fn in_dir(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }
}
