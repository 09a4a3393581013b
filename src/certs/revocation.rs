//! What a CA of the bridge's own has taken back: a revocation list (RFC 5280 section 5), signed anew as a whole.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use super::{
    CertsError, LocalAuthority,
    authority::{CA_DAYS, midnight},
    file::{self, PUBLIC},
    server_config::read_certificates,
};

impl LocalAuthority {
    /// The revocation list.
    #[must_use]
    pub fn revocation_list(&self) -> PathBuf {
        self.dir.join("crl.pem")
    }

    /// Writes the list of these certificates, whose files are named, in the place of the one before. It is good for as
    /// long as the CA is.
    ///
    /// # Errors
    /// When a file cannot be read or written, is no certificate, or the CA cannot sign.
    pub fn write_revocation_list(&self, certificates: &[PathBuf]) -> Result<(), CertsError> {
        let today = midnight(0, date_time_ymd);
        let revoked = certificates.iter().map(|file| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from(serial_number(file)?),
                revocation_time: today,
                reason_code: Some(RevocationReason::CessationOfOperation),
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update: midnight(-1, date_time_ymd),
            next_update: midnight(CA_DAYS, date_time_ymd),
            // Must only grow, and the list is written by people's commands.
            crl_number: SerialNumber::from(u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect::<Result<_, CertsError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let sign = |source| CertsError::Sign { name: "crl".to_owned(), source };
        let pem = list.signed_by(&self.issuer()?).and_then(|list| list.pem()).map_err(sign)?;
        let path = self.revocation_list();
        file::write(&path, &pem, PUBLIC).map_err(|source| CertsError::File { file: path, source })
    }
}

fn serial_number(file: &Path) -> Result<Vec<u8>, CertsError> {
    let certificates = read_certificates(file)?;
    let serial = certificates.first().and_then(|certificate: &CertificateDer<'_>| {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        Some(certificate.raw_serial().to_vec())
    });
    serial.ok_or_else(|| CertsError::NotACertificate(file.to_owned()))
}
