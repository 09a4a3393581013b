//! Certificates as their readers see them: `rustls` on both ends, and the file system.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::danger::ClientCertVerifier,
};

use super::*;

/// Lets a client and a server shake hands in memory; the client's protocol or the first error.
fn handshake(server: &Arc<rustls::ServerConfig>, client: ClientConfig, name: &str) -> Result<Option<Vec<u8>>, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    Ok(client.alpn_protocol().map(<[u8]>::to_vec))
}

fn client(
    ca: &Path,
    identity: Option<&CertificateFiles>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(read_roots(ca).unwrap());
    match identity {
        None => builder.with_no_client_auth(),
        Some(files) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&files.cert).unwrap()],
                PrivateKeyDer::from_pem_file(&files.key).unwrap(),
            )
            .unwrap(),
    }
}

fn clients(ca: &Path, crl: Option<&Path>) -> Arc<dyn ClientCertVerifier> {
    let files = ClientFiles { ca: ca.to_owned(), crl: crl.map(Path::to_owned), optional: false };
    client_verifier(&files).unwrap().verifier
}

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn the_first_start_makes_a_server_that_clients_trust() {
    let dir = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(dir.path().join("data/certs"));
    let files = certs.ensure_server().unwrap();
    let server = server_config(&files, None, &[b"mqtt"]).unwrap();
    let ca = certs.authority().cert;
    for version in BOTH {
        for name in local_names() {
            handshake(&server, client(&ca, None, &[version]), &name).unwrap();
        }
    }
    let other = handshake(&server, client(&ca, None, &BOTH), "example.org").unwrap_err();
    assert!(other.contains("not valid for name"), "{other}");

    let mut offering = client(&ca, None, &BOTH);
    offering.alpn_protocols = vec![b"x".to_vec(), b"mqtt".to_vec()];
    assert_eq!(handshake(&server, offering, "localhost"), Ok(Some(b"mqtt".to_vec())));
}

#[test]
fn keys_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(dir.path());
    let server = certs.ensure_server().unwrap();
    let authority = certs.authority();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&server.key), mode(&authority.key)], [0o600, 0o600]);
    assert_eq!([mode(&server.cert) & 0o044, mode(&authority.cert) & 0o044], [0o044, 0o044]);
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.key", "ca.pem", "server.key", "server.pem"]);
}

#[test]
fn what_is_good_is_kept_and_what_is_not_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(dir.path());
    let files = certs.ensure_server().unwrap();
    let first = fs::read(&files.cert).unwrap();
    let authority = fs::read(certs.authority().cert).unwrap();
    certs.ensure_server().unwrap();
    assert_eq!(fs::read(&files.cert).unwrap(), first);

    // Another machine's certificate, a key without its certificate, and a damaged file.
    certs.issue(Purpose::Server, "server", &["example.org".to_owned()], dir.path(), true).unwrap();
    certs.ensure_server().unwrap();
    handshake(&server_config(&files, None, &[]).unwrap(), client(&certs.authority().cert, None, &BOTH), "localhost")
        .unwrap();
    fs::copy(certs.authority().key, &files.key).unwrap();
    certs.ensure_server().unwrap();
    server_config(&files, None, &[]).unwrap();
    fs::write(&files.cert, "").unwrap();
    certs.ensure_server().unwrap();
    server_config(&files, None, &[]).unwrap();
    assert_eq!(fs::read(certs.authority().cert).unwrap(), authority, "the CA stays");

    // Another CA signs anew.
    certs.make_authority(true).unwrap();
    certs.ensure_server().unwrap();
    handshake(&server_config(&files, None, &[]).unwrap(), client(&certs.authority().cert, None, &BOTH), "::1").unwrap();
}

#[test]
fn devices_are_let_in_by_their_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(dir.path());
    let files = certs.ensure_server().unwrap();
    let ca = certs.authority().cert;
    let server = server_config(&files, Some(clients(&ca, None)), &[]).unwrap();
    let device = certs.issue(Purpose::Device, "pump-7", &[], dir.path(), false).unwrap();
    for version in BOTH {
        handshake(&server, client(&ca, Some(&device), &[version]), "localhost").unwrap();
        let none = handshake(&server, client(&ca, None, &[version]), "localhost").unwrap_err();
        assert!(none.contains("sent no certificates"), "{none}");
        // A server's certificate says nothing about a device.
        let wrong = handshake(&server, client(&ca, Some(&files), &[version]), "localhost").unwrap_err();
        assert!(wrong.starts_with("server: invalid peer certificate"), "{wrong}");
    }
    let stranger = LocalAuthority::new(dir.path().join("other"));
    stranger.make_authority(false).unwrap();
    let stranger = stranger.issue(Purpose::Device, "pump-7", &[], &dir.path().join("other"), false).unwrap();
    let unknown = handshake(&server, client(&ca, Some(&stranger), &BOTH), "localhost").unwrap_err();
    assert!(unknown.starts_with("server: invalid peer certificate"), "{unknown}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(dir.path());
    certs.make_authority(false).unwrap();
    assert!(matches!(certs.make_authority(false), Err(CertsError::Exists(_))));
    let issue = |name: &str, replace| certs.issue(Purpose::Device, name, &[], dir.path(), replace);
    issue("pump-7", false).unwrap();
    assert!(matches!(issue("pump-7", false), Err(CertsError::Exists(_))));
    issue("pump-7", true).unwrap();
    for name in ["", "../x", "a/b", ".hidden", "a b", &"x".repeat(65)] {
        assert!(matches!(issue(name, true), Err(CertsError::Name(_))), "{name}");
    }
    assert!(matches!(issue("ca", true), Err(CertsError::Reserved)));
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let certs = LocalAuthority::new(dir.path());
    let files = certs.ensure_server().unwrap();
    let device = certs.issue(Purpose::Device, "pump-7", &[], dir.path(), false).unwrap();
    let broken = dir.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let with = |cert: &Path, key: &Path, ca: Option<&Path>| {
        let files = CertificateFiles { cert: cert.to_owned(), key: key.to_owned() };
        let verifier = |ca: &Path| client_verifier(&ClientFiles { ca: ca.to_owned(), crl: None, optional: false });
        let clients = ca.map(verifier).transpose().map(|found| found.map(|found| found.verifier));
        clients.and_then(|clients| server_config(&files, clients, &[])).unwrap_err().to_string()
    };
    let absent = dir.path().join("absent.pem");
    for (error, file, reason) in [
        (with(&absent, &files.key, None), "absent.pem", "cannot read"),
        (with(&files.key, &files.key, None), "server.key", "holds no certificate"),
        (with(&files.cert, &files.cert, None), "server.pem", "holds no unencrypted private key"),
        (with(&files.cert, &device.key, None), "pump-7.key", "is not the one of the certificate"),
        (with(&broken, &files.key, None), "broken.pem", "is no PEM file"),
        (with(&files.cert, &files.key, Some(&files.key)), "server.key", "holds no certificate"),
    ] {
        assert!(error.contains(file) && error.contains(reason), "{error}");
    }
    let of_list = |crl: &Path| {
        let files = ClientFiles { ca: certs.authority().cert, crl: Some(crl.to_owned()), optional: false };
        client_verifier(&files).unwrap_err().to_string()
    };
    let garbage = dir.path().join("garbage.pem");
    fs::write(&garbage, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").unwrap();
    for (file, reason) in [
        (&absent, "absent.pem: No such file"),
        (&files.cert, "server.pem holds no revocation list in PEM form"),
        (&garbage, "garbage.pem cannot be used as revocation list"),
    ] {
        assert!(of_list(file).contains(reason), "{}", of_list(file));
    }
}
