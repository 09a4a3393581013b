//! Looks at the certificates, keys, accounts and access rules that the configuration names, before anything is opened:
//! a file that is missing is a mistake in the configuration as much as a wrong value is.

use std::{
    fs,
    path::{Path, absolute},
};

use crate::{
    auth::{PasswordFile, access::read_acl_file, read_keys, web::ApiKeyFile},
    certs::{
        CertificateFiles, ClientFiles, LocalAuthority, TlsError, certificate_problems, certificates_problem,
        client_problem, key_problem,
    },
    config::{Certificate, DatabaseFile, KeyPath, Settings, TlsSettings},
    provisioning::Registry,
};

const CERTIFICATE: &str = "a PEM file with the certificate, followed by its intermediates";
const KEY: &str = "a PEM file with the certificate's private key, not encrypted";
const CLIENT_CA: &str = "a PEM file with the certificates of the CAs whose clients are let in";
const CLIENT_CRL: &str = "a PEM file with a list of revoked certificates of each of these CAs";
const PASSWORD: &str = "a file with the database's password";
const TOKEN_CA: &str = "a PEM file with the certificates of the CAs that sign the issuer's";
const DATABASE_CA: &str = "a PEM file with the certificates of the CAs that sign the database's";

/// Everything that is wrong, with the key that names the file, and what would be right.
pub fn check(settings: &Settings) -> Vec<(KeyPath, String)> {
    let mut problems = Vec::new();
    let mut development = false;
    for (key, tls) in settings.tls() {
        development |= tls.certificate == Certificate::Development;
        let made_later = development.then(|| LocalAuthority::new(settings.certs_dir()).authority().cert);
        problems.extend(listener_problems(&key, tls, made_later.as_deref()));
    }
    if let Some((key, files)) = settings.database_files() {
        let found = files.iter().filter_map(database_problem);
        problems.extend(found.map(|problem| (key.clone(), problem)));
    }
    if let Some(file) = settings.timescale.as_ref().and_then(|timescale| timescale.password_file.as_deref())
        && let Some(problem) = unreadable(file)
    {
        problems.push((KeyPath::default().key("timescale").key("password_file"), problem));
    }
    for (key, file) in settings.schemas() {
        problems.extend(schema_problem(file).map(|problem| (key, problem)));
    }
    if let Some((key, file)) = settings.api_key_file()
        && let Err(error) = ApiKeyFile::read(&file)
    {
        problems.push((key, error.to_string()));
    }
    if let Some((key, file)) = settings.password_file()
        && let Err(error) = PasswordFile::read(file)
    {
        problems.push((key, error.to_string()));
    }
    if let Some((key, file)) = settings.token_keys()
        && let Err(error) = read_keys(file)
    {
        problems.push((key, error.to_string()));
    }
    if let Some(file) = settings.auth.jwt.as_ref().and_then(|jwt| jwt.jwks_ca.as_deref())
        && let Some(error) = certificates_problem(file)
    {
        problems.push((KeyPath::default().key("auth").key("jwt").key("jwks_ca"), describe(&error, TOKEN_CA)));
    }
    if let Some((key, file)) = settings.acl_file()
        && let Err(error) = read_acl_file(file)
    {
        problems.push((key, error.to_string()));
    }
    problems.extend(
        device_problems(settings).into_iter().map(|problem| (KeyPath::default().key("auth").key("devices"), problem)),
    );
    problems
}

/// What is wrong with the files of devices that are there; the start makes the others.
fn device_problems(settings: &Settings) -> Vec<String> {
    let Some(devices) = settings.devices_dir().map(Registry::new) else { return Vec::new() };
    let passwords = PasswordFile::read_or_new(&devices.passwords()).err().map(|error| error.to_string());
    let acl = devices.acl().exists().then(|| read_acl_file(&devices.acl()).err()).flatten();
    passwords.into_iter().chain(acl.map(|error| error.to_string())).collect()
}

/// `made_later` is a CA that the start makes, where it is not there yet.
fn listener_problems(key: &KeyPath, tls: &TlsSettings, made_later: Option<&Path>) -> Vec<(KeyPath, String)> {
    let mut problems = Vec::new();
    if let Certificate::Files { cert, key: private } = &tls.certificate {
        let files = CertificateFiles { cert: cert.clone(), key: private.clone() };
        for error in certificate_problems(&files) {
            let at_key = matches!(error, TlsError::NoKey(_)) || error.file() != cert;
            let (name, right) = if at_key { ("key", KEY) } else { ("cert", CERTIFICATE) };
            problems.push((key.key(name), describe(&error, right)));
        }
    }
    if let Some(file) = &tls.client_ca {
        let is_made_later = !file.exists() && made_later.is_some_and(|made| is_same(made, file));
        let files = ClientFiles { ca: file.clone(), crl: tls.client_crl.clone(), optional: false };
        let error = if is_made_later { None } else { client_problem(&files) };
        problems.extend(error.map(|error| {
            let is_list = error.file() != file && tls.client_crl.as_deref() == Some(error.file());
            let (name, right) = if is_list { ("client_crl", CLIENT_CRL) } else { ("client_ca", CLIENT_CA) };
            (key.key(name), describe(&error, right))
        }));
    }
    problems
}

/// Why a file with a password cannot be read.
fn unreadable(file: &Path) -> Option<String> {
    let problem = match fs::read_to_string(file) {
        Ok(text) if text.lines().next().is_some_and(|line| !line.is_empty()) => return None,
        Ok(_) => "the first line is empty".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("{}: {problem}; expected {PASSWORD}", file.display()))
}

/// Whether it is a schema shows when the routes are compiled.
fn schema_problem(file: &Path) -> Option<String> {
    let error = fs::read_to_string(file).err()?;
    Some(format!("{}: {error}; expected a file with a JSON Schema", absolute(file).unwrap_or(file.into()).display()))
}

fn database_problem(file: &DatabaseFile) -> Option<String> {
    let (parameter, error, right) = match file {
        DatabaseFile::Authority(file) => ("sslrootcert", certificates_problem(file), DATABASE_CA),
        DatabaseFile::Certificate(file) => ("sslcert", certificates_problem(file), CERTIFICATE),
        DatabaseFile::Key(file) => ("sslkey", key_problem(file), KEY),
        DatabaseFile::Passwords(file) => return unreadable(file).map(|problem| format!("`passfile`: {problem}")),
    };
    error.map(|error| format!("`{parameter}`: {}", describe(&error, right)))
}

fn describe(error: &TlsError, right: &str) -> String {
    format!("{error}; expected {right}")
}

/// Whether two paths are written for the same place.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((absolute(one), absolute(other)), (Ok(one), Ok(other)) if one == other)
}
