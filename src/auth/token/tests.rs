//! Keys in the forms that issuers give them; tests/it has the tokens.

use std::process::Command;

use super::{key::read_keys, *};

#[test]
fn passwords_are_not_taken_for_tokens() {
    assert!(is_token(b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA"));
    for password in ["", "secret", "eyJ", "eyJ.a", "a.b.c", "eyJ.b.c.d", "eyJ.b.c\u{e4}", "eyJ b.c.d"] {
        assert!(!is_token(password.as_bytes()), "{password}");
    }
}

#[test]
fn keys_come_from_files_of_openssl_and_of_issuers() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    for (name, kind) in [
        ("rsa", &["RSA"][..]),
        ("p256", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("ed25519", &["ED25519"]),
    ] {
        openssl(&[&["genpkey", "-out", "key", "-algorithm"], kind].concat());
        openssl(&["pkey", "-in", "key", "-pubout", "-out", name]);
        assert_eq!(read_keys(&file(name)).unwrap().len(), 1, "{name}");
    }
    let both = [std::fs::read(file("rsa")).unwrap(), std::fs::read(file("p256")).unwrap()].concat();
    std::fs::write(file("both"), both).unwrap();
    assert_eq!(read_keys(&file("both")).unwrap().len(), 2);
    for (name, content) in [("none", "nothing"), ("secret", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#)] {
        std::fs::write(file(name), content).unwrap();
        assert!(matches!(read_keys(&file(name)), Err(KeyFileError::None(_))), "{name}");
    }
    // A private key is no public one.
    assert!(matches!(read_keys(&file("key")), Err(KeyFileError::None(_))));
    assert!(matches!(read_keys(&file("absent")), Err(KeyFileError::Unreadable { .. })));
}
