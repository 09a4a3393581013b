//! The vectors of RFC 7677 and RFC 5803's form, every way in which an exchange can fail, and the
//! password file with every kind of mistake in it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use proptest::prelude::*;

use super::{verifier::ScramKeys, *};
use crate::types::Peer;

const PEER: Peer = Peer::Unix { pid: None, uid: 0 };

/// Of the user and the password that RFC 7677 section 3 has, with its salt.
const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                      WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn accounts(lines: &str) -> Accounts {
    PasswordFile::parse(Path::new("passwords"), lines).unwrap().into_accounts()
}

fn user() -> Accounts {
    accounts(&format!("user:{PENCIL}"))
}

fn begin(accounts: &Accounts, client_first: &str) -> Result<(Exchange, String), ScramError> {
    Exchange::begin_with_nonce(accounts, client_first.as_bytes(), SERVER_NONCE)
}

#[test]
fn the_exchange_of_rfc_7677() {
    let (exchange, server_first) = begin(&user(), CLIENT_FIRST).unwrap();
    assert_eq!(server_first, SERVER_FIRST);
    let proven = exchange.finish(CLIENT_FINAL.as_bytes()).unwrap();
    assert_eq!((&*proven.user, &*proven.server_final), ("user", SERVER_FINAL));
}

#[test]
fn a_verifier_is_made_from_a_password_and_written_as_postgresql_does() {
    let pencil: Verifier = PENCIL.parse().unwrap();
    let salt = &pencil.scram().unwrap().salt;
    assert_eq!(Verifier::from(ScramKeys::with_salt(b"pencil", salt, 4096).unwrap()), pencil);
    assert_eq!(pencil.expose(), PENCIL);
    assert!(pencil.matches(b"pencil"));
    for other in [&b"pencils"[..], b"Pencil", b"", b"\xff"] {
        assert!(!pencil.matches(other));
    }
    let [one, another] = [(); 2].map(|()| Verifier::scram_of(b"pencil", 4096).unwrap());
    assert_ne!(one, another, "each has a salt of its own");
    assert!(one.matches(b"pencil"));
}

/// `pencil`, by mosquitto_passwd 2.0.11 and argon2-cffi 25.1.
const ELSEWHERE: [&str; 4] = [
    "$6$e480qPsqBVQgpAxt$Be+niNsOYkFQnqcenbKAEWNMBl6HczG3wk+QvDszU6BgEXnNp5768JUjhiVAUdL8GvuZ8rf8Z1zqJTdY6FvpPA==",
    "$7$101$TOHVNBGVpQTj7oxm$9MzVzNUUxR++YN4t4bzMFsLY6BVY/L1/bhO6R75cIcoiYUQ118gkSRo2QGUXLu1Zf5+mqgJsAl5pnd74hRClJw==",
    "$argon2id$v=19$m=64,t=1,p=1$cJqi0i2qiQ72gm5ddxDHpw$9vbTOf16LQKVQNPccsFFQvt6N2db2r20uaTko3QMz6w",
    "$argon2id$v=19$m=1024,t=3,p=4$RHIeU6c0UILkFVMjOj6ghg$Y57p8U7engdPw7F6f88SFcz62g17vDq9XsKdHoBvmc0",
];

#[test]
fn hashes_made_elsewhere_are_read_and_written_back() {
    for text in ELSEWHERE {
        let hash: Verifier = text.parse().unwrap();
        assert!(hash.matches(b"pencil"), "{text}");
        assert!(!hash.matches(b"pencils") && !hash.matches(b""), "{text}");
        assert_eq!(hash.expose(), text);
    }
    let [one, another] = [(); 2].map(|()| Verifier::of(b"pencil").unwrap());
    assert_ne!(one, another, "each has a salt of its own");
    assert!(one.matches(b"pencil") && !one.matches(b"Pencil"));
    assert_eq!(one.expose().parse::<Verifier>().unwrap(), one);
}

#[test]
fn hashes_that_would_cost_too_much_or_are_of_another_kind_are_refused() {
    let [sha512, pbkdf2, argon2, _] = ELSEWHERE;
    for (text, error) in [
        (argon2.replace("m=64", "m=65537"), VerifierError::Cost),
        (argon2.replace("t=1", "t=9"), VerifierError::Cost),
        (argon2.replace("p=1", "p=9").replace("m=64", "m=128"), VerifierError::Cost),
        (argon2.replace("m=64", "m=1"), VerifierError::Form),
        (argon2.replace("argon2id", "argon2i"), VerifierError::Form),
        (argon2.replace("v=19", "v=16"), VerifierError::Form),
        (argon2.replace("v=19$", ""), VerifierError::Form),
        (argon2.replace("p=1$", "p=1,keyid=AAAA$"), VerifierError::Form),
        (argon2.rsplit_once('$').unwrap().0.to_owned(), VerifierError::Form),
        (pbkdf2.replace("$101", "$0"), VerifierError::Iterations),
        (pbkdf2.replace("$101", "$1000001"), VerifierError::Iterations),
        (pbkdf2.replace("$101", "$x"), VerifierError::Form),
        (pbkdf2.replace("TOHVNBGVpQTj7oxm", ""), VerifierError::Salt),
        (sha512.replace("PA==", ""), VerifierError::Form),
        (sha512.replace("$6", "$5"), VerifierError::Form),
        (format!("{sha512}$"), VerifierError::Form),
    ] {
        assert_eq!(text.parse::<Verifier>().unwrap_err(), error, "{text}");
    }
}

#[test]
fn a_name_that_nobody_has_costs_what_an_account_does() {
    let forms = |lines: &str| {
        let accounts = accounts(lines);
        let asked = (0..64).map(|n| accounts.find(&format!("nobody {n}")));
        let mut forms: Vec<_> = asked
            .map(|found| {
                assert_eq!(found.user, None);
                format!("{:?}", found.verifier)
            })
            .collect();
        forms.sort();
        forms.dedup();
        forms
    };
    let [sha512, _, argon2, _] = ELSEWHERE;
    assert_eq!(forms(""), ["Verifier(SCRAM-SHA-256)"]);
    assert_eq!(forms(&format!("one:{argon2}")), ["Verifier(argon2id)"]);
    assert_eq!(
        forms(&format!("one:{argon2}\ntwo:{sha512}\nthree:{PENCIL}")),
        ["Verifier(SCRAM-SHA-256)", "Verifier(argon2id)", "Verifier(mosquitto)"],
    );
    let accounts = accounts(&format!("one:{argon2}"));
    let decoys = [(); 2].map(|()| accounts.find("nobody").verifier.expose());
    assert_eq!(decoys[0], decoys[1], "the same each time");
    assert!(decoys[0].starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
}

#[test]
fn scram_has_a_challenge_for_accounts_without_keys_and_believes_no_proof() {
    for text in ELSEWHERE {
        let accounts = accounts(&format!("user:{text}"));
        let (exchange, server_first) = begin(&accounts, CLIENT_FIRST).unwrap();
        assert!(server_first.ends_with(",i=4096"), "{server_first}");
        assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()).unwrap_err(), ScramError::Proof);
    }
}

#[test]
fn passwords_and_names_are_the_same_however_they_are_typed() {
    // RFC 4013 section 3, and what Unicode 3.2 did not have.
    for (one, another) in [("I\u{AD}X", "IX"), ("\u{AA}", "a"), ("\u{2168}", "IX"), ("\u{1F511}", "\u{1F511}")] {
        assert!(Verifier::scram_of(one.as_bytes(), 4096).unwrap().matches(another.as_bytes()), "{one}");
    }
    let accounts = accounts(&format!("IX:{PENCIL}"));
    assert_eq!(accounts.find("\u{2168}").user.as_deref(), Some("IX"));
    assert_eq!(accounts.find("ix").user, None);
}

#[test]
fn what_is_no_first_message_begins_nothing() {
    let accounts = user();
    for (first, error) in [
        ("", ScramError::Message),
        ("n", ScramError::Message),
        ("n,,", ScramError::Message),
        ("n,,n=user", ScramError::Message),
        ("n,,n=,r=x", ScramError::Message),
        ("n,,r=x,n=user", ScramError::Message),
        ("n,,n=user,r=", ScramError::Message),
        ("n,,n=user,r=a b", ScramError::Message),
        ("n,,n=user,r=\u{E4}", ScramError::Message),
        ("n,,n=us=er,r=x", ScramError::Message),
        ("n,,n=us=2c,r=x", ScramError::Message),
        ("n,,n=user,r=x,", ScramError::Message),
        ("n,,n=user,r=x,1=x", ScramError::Message),
        ("n,x,n=user,r=x", ScramError::Message),
        ("x,,n=user,r=x", ScramError::Message),
        ("p=tls-unique,,n=user,r=x", ScramError::ChannelBinding),
        ("p=tls-exporter,,n=user,r=x", ScramError::ChannelBinding),
        ("n,,m=x,n=user,r=x", ScramError::Extension),
        ("n,,n=user,r=x,m=x", ScramError::Extension),
        ("n,a=admin,n=user,r=x", ScramError::AuthorizationIdentity),
    ] {
        assert_eq!(begin(&accounts, first).unwrap_err(), error, "{first}");
    }
    assert_eq!(begin(&accounts, &format!("n,,n=user,r={}", "x".repeat(257))).unwrap_err(), ScramError::Message);
    assert_eq!(Exchange::begin(&accounts, b"\xff,,n=user,r=x").unwrap_err(), ScramError::Message);
    for first in ["y,,n=user,r=x", "n,a=user,n=user,r=x", "n,,n=user,r=x,e=extension"] {
        begin(&accounts, first).unwrap();
    }
}

#[test]
fn what_is_no_final_message_proves_nothing() {
    let valid = CLIENT_FINAL;
    for (last, error) in [
        (String::new(), ScramError::Message),
        (valid.replace("biws", "b"), ScramError::Message),
        (valid.replace("c=biws,", ""), ScramError::Message),
        // "y,," and "p=tls-unique,," where the exchange began with "n,,".
        (valid.replace("biws", "eSws"), ScramError::OtherChannelBinding),
        (valid.replace("biws", "cD10bHMtdW5pcXVlLCw="), ScramError::OtherChannelBinding),
        (valid.replace("r=rOpr", "r=ROpr"), ScramError::Nonce),
        (valid.replace(",p=", "x,p="), ScramError::Nonce),
        (valid.replace(SERVER_NONCE, ""), ScramError::Nonce),
        (valid.replace(",p=", ",m=x,p="), ScramError::Extension),
        (valid.replace("p=dHzb", "p=DHzb"), ScramError::Proof),
        // The proof covers all that comes before it.
        (valid.replace(",p=", ",x=y,p="), ScramError::Proof),
        (valid.replace("ndVQ=", "ndVQ"), ScramError::Message),
        (valid.replace("p=dHzb", "p="), ScramError::Message),
        (valid.split_once(",p=").unwrap().0.to_owned(), ScramError::Message),
        (format!("{valid},x=y"), ScramError::Message),
    ] {
        let (exchange, _) = begin(&user(), CLIENT_FIRST).unwrap();
        assert_eq!(exchange.finish(last.as_bytes()).unwrap_err(), error, "{last}");
    }
    let (exchange, _) = begin(&user(), CLIENT_FIRST).unwrap();
    assert_eq!(exchange.finish(b"\xff").unwrap_err(), ScramError::Message);
}

#[test]
fn what_was_said_once_proves_nothing_again() {
    let (exchange, server_first) = Exchange::begin(&user(), CLIENT_FIRST.as_bytes()).unwrap();
    assert_ne!(server_first, SERVER_FIRST);
    assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()).unwrap_err(), ScramError::Nonce);
    let again = Exchange::begin(&user(), CLIENT_FIRST.as_bytes()).unwrap().1;
    assert_ne!(again, server_first);
}

#[test]
fn a_name_that_nobody_has_looks_like_one_that_somebody_has() {
    let file = "one:SCRAM-SHA-256$4096:AAAA$S:S\nother:SCRAM-SHA-256$9999:AAAAAAAA$S:S";
    let key = "A".repeat(43) + "=";
    let accounts = accounts(&file.replace("$S:S", &format!("${key}:{key}")));
    let mut shapes = std::collections::BTreeSet::new();
    for name in (0..50).map(|n| format!("nobody-{n}")) {
        let [decoy, again] = [(); 2].map(|()| accounts.find_keys(&name));
        assert_eq!((decoy.user, &decoy.keys), (None, &again.keys), "the same each time");
        shapes.insert((decoy.keys.iterations, decoy.keys.salt.len()));
    }
    assert_eq!(shapes.into_iter().collect::<Vec<_>>(), [(4096, 3), (9999, 6)]);
    let other = Accounts::default();
    assert_ne!(other.find_keys("x").keys.salt, accounts.find_keys("x").keys.salt, "others cannot know it");
    let (exchange, server_first) = begin(&user(), &CLIENT_FIRST.replace("user", "nobody")).unwrap();
    assert_eq!(server_first.len(), SERVER_FIRST.len());
    assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()).unwrap_err(), ScramError::Proof);
}

#[test]
fn names_may_have_what_messages_cannot() {
    let accounts = accounts(&format!("a,b=c:{PENCIL}"));
    let (exchange, _) = begin(&accounts, "n,,n=a=2Cb=3Dc,r=x").unwrap();
    assert!(format!("{exchange:?}").contains("a,b=c"));
}

#[tokio::test]
async fn passwords_are_checked_by_the_same_accounts() {
    let authenticator = Authenticator::new(user());
    assert_eq!(authenticator.check_password(PEER, "user", b"pencil").await.as_deref(), Ok("user"));
    for (name, password) in [("user", &b"wrong"[..]), ("user", b""), ("nobody", b"pencil"), ("", b""), ("\0", b"\xff")]
    {
        assert_eq!(authenticator.check_password(PEER, name, password).await, Err(PasswordError::Wrong), "{name}");
    }
    assert_eq!(Authenticator::default().check_password(PEER, "user", b"pencil").await, Err(PasswordError::Wrong));
}

#[test]
fn a_bad_line_is_named_and_not_repeated() {
    for (line, fault) in [
        ("user", "expected name:verifier"),
        ("user:", "expected $argon2id$"),
        ("user:secret", "expected $argon2id$"),
        (&PENCIL.replacen("SCRAM", "user:SCRAM", 1).replace("256", "1"), "expected $argon2id$"),
        (&format!("user:{PENCIL}x"), "expected $argon2id$"),
        (&format!("user:{PENCIL}:x"), "expected $argon2id$"),
        (&format!("user:{}", PENCIL.replace("$4096", "$x")), "expected $argon2id$"),
        (&format!("user:{}", PENCIL.replace("$4096", "$4095")), "expected 4096 to 1000000 iterations"),
        (&format!("user:{}", PENCIL.replace("$4096", "$1000001")), "expected 4096 to 1000000 iterations"),
        (&format!("user:{}", PENCIL.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "")), "expected a salt of 1 to 64 bytes"),
        (&format!(":{PENCIL}"), "a name has at least one character"),
        (&format!(" user:{PENCIL}"), "a name has at least one character"),
        (&format!("us\ter:{PENCIL}"), "the name has a character that names cannot have"),
        (&format!("\u{2168}:{PENCIL}"), "the name is not in the form"),
        (&format!("known:{PENCIL}"), "the account of line 2 has the same name"),
    ] {
        let text = format!("# comment\nknown:{PENCIL}\n\n{line}\n");
        let error = PasswordFile::parse(Path::new("passwords"), &text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("passwords:4: {fault}")), "{line}: {error}");
        assert!(!error.contains("secret") && !error.contains("W22Z"), "{error}");
    }
}

#[test]
fn a_file_keeps_what_is_not_changed_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    fs::write(&path, format!("# devices\r\n\none:{PENCIL}\n  \n# people\ntwo:{PENCIL}")).unwrap();
    let mut file = PasswordFile::read(&path).unwrap();
    let other = Verifier::scram_of(b"other", 5000).unwrap();
    assert!(!file.set("one", other.clone()).unwrap());
    assert!(file.set("three", other.clone()).unwrap());
    assert!(file.remove("two").unwrap() && !file.remove("two").unwrap());
    file.write().unwrap();
    let (one, three) = (other.expose(), other.expose());
    let expected = format!("# devices\n\none:{one}\n  \n# people\nthree:{three}\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    PasswordFile::read(&link).unwrap().write().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn a_new_file_is_made_and_a_bad_one_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    assert!(matches!(PasswordFile::read(&path), Err(PasswordFileError::Unreadable { .. })));
    let mut file = PasswordFile::read_or_new(&path).unwrap();
    file.set("user", PENCIL.parse().unwrap()).unwrap();
    for name in ["", " ", "a:b", "#a", "a\n", "\u{0}"] {
        assert!(file.set(name, PENCIL.parse().unwrap()).is_err(), "{name:?}");
    }
    file.write().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("user:{PENCIL}\n"));
    fs::write(&path, "nonsense").unwrap();
    assert!(PasswordFile::read_or_new(&path).is_err());
}

#[test]
fn nothing_that_prints_shows_a_secret() {
    let accounts = user();
    let (exchange, _) = begin(&accounts, CLIENT_FIRST).unwrap();
    let file = PasswordFile::parse(Path::new("passwords"), &format!("user:{PENCIL}")).unwrap();
    let printed = format!("{accounts:?} {exchange:?} {file:?} {:?}", Authenticator::new(user()));
    let pencil: Verifier = PENCIL.parse().unwrap();
    let pencil = pencil.scram().unwrap();
    let keys = [&pencil.stored_key[..], &pencil.server_key].map(|key| format!("{key:?}"));
    assert!(!keys.iter().any(|key| printed.contains(key)), "{printed}");
    assert!(!printed.contains("WG5d8oPm") && !printed.contains("wfPLwcE6"), "{printed}");
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(first: Vec<u8>, last: Vec<u8>, text in "[nymrca=,2CD3p]{0,20}") {
        let accounts = user();
        let _ = Exchange::begin(&accounts, &first);
        let _ = Exchange::begin(&accounts, text.as_bytes());
        for last in [&last[..], text.as_bytes()] {
            let (exchange, _) = begin(&accounts, CLIENT_FIRST).unwrap();
            prop_assert!(exchange.finish(last).is_err());
        }
        let _ = PasswordFile::parse(Path::new("passwords"), &text);
    }
}
