//! Certificates: the development CA with what it signs, and TLS for a listener.
//!
//! Runs at start and in the `certs` command; owns `data_dir/certs` and nothing else. Knows no
//! other room: whoever has settings passes paths. A failure names the file and what is wrong
//! with it; nothing half-written is left under a final name.

mod clients;
mod development;
mod file;
mod server_config;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use clients::{ClientFiles, ClientVerifier, client_problem, client_verifier};
pub use development::{CertsError, DevelopmentCerts, Purpose, local_names};
pub use server_config::{
    TlsError, certificate_problems, certificates_problem, key_problem, not_after, read_roots, server_config,
};

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// The private key; only its owner may read it.
    pub key: PathBuf,
}
