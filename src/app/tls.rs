//! TLS of the listeners, from the files that the settings name, and when what is in these files ends.

use std::{path::PathBuf, sync::Arc};

use metrics::gauge;

use crate::{
    auth::{CertificatePolicy, NamedBy},
    certs::{CertificateFiles, ClientFiles, LocalAuthority, client_verifier, not_after, server_config},
    config::{Certificate, ClientCertificate, ClientIdentity, ListenerSettings, Settings, TlsSettings},
    journal::{Clock, SystemClock},
    limits,
    mqtt::TlsTerms,
    provisioning::Registry,
};

/// TLS of a listener, with the times of its certificate and its revocation lists.
pub struct ListenerTls {
    /// What its clients meet.
    pub terms: TlsTerms,
    /// In seconds since 1970, as the next.
    not_after: i64,
    next_update: Option<i64>,
}

/// Reads the files of a listener that has TLS. The development certificate is made or renewed where it must be.
pub fn read(settings: &Settings, listener: &ListenerSettings) -> anyhow::Result<Option<ListenerTls>> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let files = match &tls.certificate {
        Certificate::Development => LocalAuthority::new(settings.certs_dir()).ensure_server()?,
        Certificate::Files { cert, key } => CertificateFiles { cert: cert.clone(), key: key.clone() },
    };
    let devices = devices(settings, tls);
    let clients = client_files(tls)
        .or_else(|| Some(device_files(devices.as_ref()?)))
        .map(|files| client_verifier(&files))
        .transpose()?;
    let next_update = clients.as_ref().and_then(|clients| clients.next_update);
    let config = server_config(&files, clients.as_ref().map(|clients| Arc::clone(&clients.verifier)), &[])?;
    // Certificates of devices are for the name that was added, and for that client identifier.
    let is_devices = devices.is_some();
    let named_by = tls.client_identity.map(named_by).or(is_devices.then_some(NamedBy::CommonName));
    let binds_client_id = tls.bind_client_id || is_devices;
    let certificates = clients
        .map(|clients| Arc::new(CertificatePolicy::new(clients.verifier, &clients.lists, named_by, binds_client_id)));
    Ok(Some(ListenerTls { terms: TlsTerms { config, certificates }, not_after: not_after(&files.cert)?, next_update }))
}

/// Files that somebody may put others in the place of while the bridge runs.
pub fn files(settings: &Settings) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for tls in settings.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        if let Certificate::Files { cert, key } = &tls.certificate {
            files.extend([cert.clone(), key.clone()]);
        }
        files.extend(tls.client_ca.clone());
        files.extend(tls.client_crl.clone());
        files.extend(devices(settings, tls).map(|devices| devices.revocation_list()));
    }
    files
}

/// The registry whose certificates a listener takes: where devices come in and no other CA is named for it.
fn devices(settings: &Settings, tls: &TlsSettings) -> Option<Registry> {
    let dir = settings.devices_dir()?;
    tls.client_ca.is_none().then(|| Registry::new(dir))
}

impl ListenerTls {
    /// Tells the metrics when its certificate ends, and the log where that is soon.
    pub fn report(&self, listener: &ListenerSettings) {
        let name = listener.bind.to_string();
        let now = SystemClock.now().get() / 1_000_000;
        let left = self.not_after - now;
        let soon = i64::try_from(limits::CERTIFICATE_WARNING.as_secs()).unwrap_or(i64::MAX);
        gauge!("synap_mqtt_certificate_not_after_seconds", "listener" => name.clone()).set(self.not_after as f64);
        if left <= 0 {
            tracing::warn!(listener = %name, "the listener's certificate has expired: clients refuse it");
        } else if left < soon {
            tracing::warn!(listener = %name, days = left / 86_400, "the listener's certificate expires soon");
        }
        if let Some(next_update) = self.next_update {
            gauge!("synap_mqtt_revocation_list_next_update_seconds", "listener" => name.clone())
                .set(next_update as f64);
            if next_update <= now {
                tracing::warn!(listener = %name, "a revocation list is out of date: what was revoked since is not known");
            }
        }
    }
}

fn client_files(tls: &TlsSettings) -> Option<ClientFiles> {
    let ca = tls.client_ca.clone()?;
    let optional = tls.client_certificate == ClientCertificate::Optional;
    Some(ClientFiles { ca, crl: tls.client_crl.clone(), optional })
}

/// Who shows no certificate has a password.
fn device_files(devices: &Registry) -> ClientFiles {
    ClientFiles { ca: devices.authority(), crl: Some(devices.revocation_list()), optional: true }
}

const fn named_by(identity: ClientIdentity) -> NamedBy {
    match identity {
        ClientIdentity::CommonName => NamedBy::CommonName,
        ClientIdentity::Dns => NamedBy::Dns,
        ClientIdentity::Uri => NamedBy::Uri,
        ClientIdentity::Email => NamedBy::Email,
    }
}
