//! A certificate authority of the openssl program's making: shares no code with what it tests.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::scratch;

/// A CA with its directory.
pub struct Authority {
    dir: TempDir,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one, with an empty revocation list.
    pub fn new(name: &str) -> Self {
        let authority = Self { dir: scratch() };
        let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\ncrlnumber = crlnumber\n\
                      new_certs_dir = .\ncertificate = ca.pem\nprivate_key = ca.key\ndefault_md = sha256\n\
                      default_days = 30\ndefault_crl_days = 30\npolicy = any\nunique_subject = no\n\
                      copy_extensions = copy\nstring_mask = utf8only\nx509_extensions = leaf\n\
                      [any]\ncommonName = optional\norganizationName = optional\n\
                      [leaf]\nbasicConstraints = CA:false\nextendedKeyUsage = clientAuth\n";
        for (file, text) in [("openssl.cnf", config), ("index.txt", ""), ("serial", "1001\n"), ("crlnumber", "01\n")] {
            std::fs::write(authority.path(file), text).unwrap();
        }
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "keyUsage=keyCertSign,cRLSign",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        authority.list();
        authority
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for a subject such as `/CN=pump-7`.
    pub fn issue(&self, file: &str, subject: &str) -> Leaf {
        self.sign(file, subject, &[], &[])
    }

    /// One with alternative names such as `DNS:pump-7`.
    pub fn issue_for(&self, file: &str, subject: &str, names: &str) -> Leaf {
        self.sign(file, subject, &["-addext", &format!("subjectAltName={names}")], &[])
    }

    /// One whose time is over.
    pub fn issue_expired(&self, file: &str, subject: &str) -> Leaf {
        self.sign(file, subject, &[], &["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"])
    }

    fn sign(&self, file: &str, subject: &str, request: &[&str], sign: &[&str]) -> Leaf {
        let [key, csr, cert] = ["key", "csr", "pem"].map(|ending| format!("{file}.{ending}"));
        let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        self.openssl(&[&new[..], &["-subj", subject, "-keyout", &key, "-out", &csr], request].concat());
        self.openssl(&[&["ca", "-batch", "-notext", "-in", &csr, "-out", &cert], sign].concat());
        Leaf { cert: self.path(&cert), key: self.path(&key) }
    }

    /// Takes a certificate back; the list says so.
    pub fn revoke(&self, leaf: &Leaf) {
        self.openssl(&["ca", "-revoke", leaf.cert.to_str().unwrap()]);
        self.list();
    }

    fn list(&self) {
        self.openssl(&["ca", "-gencrl", "-out", "new.pem"]);
        std::fs::rename(self.path("new.pem"), self.path("crl.pem")).unwrap();
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        if matches!(arguments.first(), Some(&"ca")) {
            command.args(["-config", "openssl.cnf"]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Arguments with which mosquitto's clients show a certificate to a server of `ca`.
pub fn shown(ca: &Path, leaf: Option<&Leaf>) -> Vec<String> {
    let mut arguments = vec!["--cafile".to_owned(), ca.display().to_string()];
    if let Some(Leaf { cert, key }) = leaf {
        arguments.extend(["--cert".to_owned(), cert.display().to_string()]);
        arguments.extend(["--key".to_owned(), key.display().to_string()]);
    }
    arguments
}
