//! The binary's configuration and certificates as a user meets them: exit codes, what is
//! printed, and what is on disk afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs the binary in `dir` with nothing of this process's environment but `variables`.
fn synap_mqtt(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synap-mqtt"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(dir)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_wrong_configuration_exits_78_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pod.toml"), "[limits]\n\nmemroy = \"1MiB\"\n[http]\nbind = \"here\"\n").unwrap();
    for command in [&["check-config"][..], &["certs", "ca"], &[]] {
        let output = synap_mqtt(dir.path(), &[&["--config", "pod.toml"], command].concat(), &[]);
        assert_eq!(output.status.code(), Some(78), "{command:?}");
        assert_eq!(text(&output.stdout), "");
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("pod.toml:3: `limits.memroy`: unknown key"), "{}", lines[0]);
        assert!(lines[1].starts_with("pod.toml:5: `http.bind`: "), "{}", lines[1]);
        assert_eq!(names(dir.path()), ["pod.toml"]);
    }
    let absent = synap_mqtt(dir.path(), &["check-config", "--config", "absent.toml"], &[]);
    assert_eq!(absent.status.code(), Some(78));
    assert!(text(&absent.stderr).starts_with("absent.toml: cannot read the configuration"));
    let variable = synap_mqtt(dir.path(), &["check-config"], &[("DATABASE_URL", "mysql://synap:secret@db/pod")]);
    assert_eq!(variable.status.code(), Some(78));
    assert!(text(&variable.stderr).starts_with("environment variable DATABASE_URL: `timescale.url`"));
    assert!(!text(&variable.stderr).contains("secret"));
}

/// Expects exit 78 and these problems from a start and from `check-config`, and that nothing
/// was made.
fn assert_refused(dir: &Path, config: &str, expected: &[&str]) {
    fs::write(dir.join("pod.toml"), config).unwrap();
    let before = names(dir);
    for command in [&["check-config"][..], &[]] {
        let output = synap_mqtt(dir, &[&["--config", "pod.toml"], command].concat(), &[]);
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        assert_eq!(output.status.code(), Some(78), "{command:?}: {lines:#?}");
        assert_eq!(lines, expected, "{command:?}");
    }
    assert_eq!(names(dir), before);
}

#[test]
fn files_that_the_configuration_names_are_looked_at_before_anything_opens() {
    const CERT: &str = "expected a PEM file with the certificate, followed by its intermediates";
    const KEY: &str = "expected a PEM file with the certificate's private key, not encrypted";
    const CLIENT_CA: &str = "expected a PEM file with the certificates of the CAs whose clients are let in";
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "other"] {
        let made = synap_mqtt(dir.path(), &["certs", "server", "--name", name, "--out", "."], &[]);
        assert!(made.status.success(), "{made:?}");
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("empty.pem"), "no certificate\n").unwrap();

    let missing = "[[listener]]\nbind = \"127.0.0.1:0\"\ntls = { cert = \"absent.pem\", key = \"folder\", client_ca = \"empty.pem\" }\n";
    assert_refused(
        dir.path(),
        missing,
        &[
            &format!(
                "pod.toml:3: `listener[0].tls.cert`: cannot read absent.pem: No such file or directory (os error 2); {CERT}"
            ),
            &format!("pod.toml:3: `listener[0].tls.key`: cannot read folder: Is a directory (os error 21); {KEY}"),
            &format!(
                "pod.toml:3: `listener[0].tls.client_ca`: empty.pem holds no certificate in PEM form; {CLIENT_CA}"
            ),
        ],
    );
    // Making certificates is what then helps.
    assert!(
        synap_mqtt(dir.path(), &["certs", "device", "--name", "pump-7", "--config", "pod.toml"], &[]).status.success()
    );

    let mixed = "[[listener]]\nbind = \"127.0.0.1:0\"\ntls.cert = \"one.pem\"\ntls.key = \"other.key\"\n\
                 [timescale]\nurl = \"postgres://db/pod?sslrootcert=empty.pem&sslcert=one.pem&sslkey=absent.key\"\n";
    assert_refused(
        dir.path(),
        mixed,
        &[
            &format!(
                "pod.toml:4: `listener[0].tls.key`: the private key other.key is not the one of the certificate one.pem; {KEY}"
            ),
            "pod.toml:6: `timescale.url`: `sslrootcert`: empty.pem holds no certificate in PEM form; expected a PEM file with the \
             certificates of the CAs that sign the database's",
            &format!(
                "pod.toml:6: `timescale.url`: `sslkey`: cannot read absent.key: No such file or directory (os error 2); {KEY}"
            ),
        ],
    );
    let mode = "[timescale]\nurl = \"postgres://db/pod?sslmode=verify_full\"\n";
    let right = "`sslmode` must be disable, allow, prefer, require, verify-ca or verify-full";
    assert_refused(dir.path(), mode, &[&format!("pod.toml:2: `timescale.url`: {right}")]);

    let good = "[[listener]]\nbind = \"127.0.0.1:0\"\ntls = { cert = \"one.pem\", key = \"one.key\", client_ca = \"data/certs/ca.pem\" }\n\
                [timescale]\nurl = \"postgres://db/pod?sslmode=verify-full&sslrootcert=data/certs/ca.pem\"\n";
    fs::write(dir.path().join("pod.toml"), good).unwrap();
    let output = synap_mqtt(dir.path(), &["check-config", "--config", "pod.toml"], &[]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_ca_that_a_first_start_makes_may_be_named_before_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        |client_ca: &str| format!("[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ client_ca = \"{client_ca}\" }}\n");
    fs::write(dir.path().join("pod.toml"), config("data/certs/ca.pem")).unwrap();
    let output = synap_mqtt(dir.path(), &["check-config", "--config", "pod.toml"], &[]);
    assert!(output.status.success(), "{output:?}");
    fs::write(dir.path().join("pod.toml"), config("certs/ca.pem")).unwrap();
    let output = synap_mqtt(dir.path(), &["check-config", "--config", "pod.toml"], &[]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn check_config_prints_what_is_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("DATABASE_URL", "postgres://synap:secret@db/pod"),
        ("SYNAP_MQTT__LISTENER", "[{ bind = \"0.0.0.0:1883\", allow_anonymous = true }]"),
    ];
    let output = synap_mqtt(dir.path(), &["check-config"], &variables);
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    for line in [
        "data_dir = \"./data\"",
        "url = \"postgres://synap:***@db/pod\"",
        "bind = \"0.0.0.0:1883\"",
        "memory = \"128MiB\"",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line}\nis not in\n{printed}");
    }
    assert!(printed.contains("# warning: `listener[0].bind`"), "{printed}");
    assert_eq!(printed.lines().last(), Some("ok"));
    assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing is made");
}

/// Runs `passwd` with this on its standard input.
fn passwd(dir: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_synap-mqtt"))
        .arg("passwd")
        .args(arguments)
        .env_clear()
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn accounts_are_added_changed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let run = |arguments: &[&str], input: &str| passwd(dir.path(), &[&["passwords"], arguments].concat(), input);
    let said = |output: Output| (output.status.code(), text(&output.stdout).to_owned());
    assert_eq!(said(run(&["one"], "secret\n")), (Some(0), "added one\n".to_owned()));
    let one = fs::read_to_string(&file).unwrap();
    assert!(one.starts_with("one:$argon2id$v=19$m=19456,t=2,p=1$") && !one.contains("secret"), "{one}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&file, format!("# kept\n{one}")).unwrap();
    fs::write(dir.path().join("secret"), "another\r\nline").unwrap();
    let two = run(&["two words", "--password-file", "secret", "--scram", "--iterations", "5000"], "");
    assert_eq!(said(two), (Some(0), "added two words\n".to_owned()));
    assert_eq!(said(run(&["one"], "other")), (Some(0), "changed one\n".to_owned()));
    let both = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = both.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "# kept"));
    assert!(lines[1].starts_with("one:") && lines[1] != one.trim_end());
    assert!(lines[2].starts_with("two words:SCRAM-SHA-256$5000:"));
    assert_eq!(said(run(&["one", "--delete"], "")), (Some(0), "deleted one\n".to_owned()));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("# kept\n{}\n", lines[2]));
    for (arguments, input, code) in [
        (&["one", "--delete"][..], "", 1),
        (&["one"], "\n", 1),
        (&["one"], "", 1),
        (&["o:ne"], "secret", 1),
        (&["one", "--password-file", "absent"], "secret", 1),
        (&["one", "--scram", "--iterations", "4095"], "secret", 2),
        (&["one", "--iterations", "4096"], "secret", 2),
        (&["one", "--delete", "--password-file", "secret"], "", 2),
    ] {
        let output = run(arguments, input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(!text(&output.stderr).contains("\"secret"), "{output:?}");
    }
    assert_eq!(names(dir.path()), ["passwords", "secret"]);
}

#[test]
fn a_wrong_password_file_exits_78_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pod.toml"), "[auth]\npassword_file = \"passwords\"\n").unwrap();
    let key = "pod.toml:2: `auth.password_file`: ";
    for (content, problem) in [
        (None, "passwords: cannot read the password file: "),
        (Some("# one\n\npump-7:hunter2\n"), "passwords:3: expected $argon2id$"),
    ] {
        content.map(|content| fs::write(dir.path().join("passwords"), content)).transpose().unwrap();
        for command in [&["check-config"][..], &[]] {
            let output = synap_mqtt(dir.path(), &[&["--config", "pod.toml"], command].concat(), &[]);
            assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
            assert_eq!(text(&output.stdout), "");
            let said = text(&output.stderr);
            assert!(said.starts_with(&format!("{key}{problem}")) && !said.contains("hunter2"), "{said}");
        }
    }
    let output = passwd(dir.path(), &["passwords", "one"], "secret");
    assert_eq!(output.status.code(), Some(1), "a file with a mistake is not written");
    assert!(text(&output.stderr).starts_with("synap-mqtt: passwords:3: expected $argon2id$"), "{output:?}");
    fs::write(dir.path().join("passwords"), "").unwrap();
    assert_eq!(passwd(dir.path(), &["passwords", "pump-7"], "hunter2").status.code(), Some(0));
    let output = synap_mqtt(dir.path(), &["--config", "pod.toml", "check-config"], &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("password_file = \"passwords\""));
    assert!(!text(&output.stdout).contains("argon2id"));
    let variables = [("SYNAP_MQTT__HTTP__AUTHENTICATION", "optional"), ("SYNAP_MQTT__AUTH", "{}")];
    let unchecked = synap_mqtt(dir.path(), &["check-config"], &variables);
    assert_eq!(unchecked.status.code(), Some(78));
    assert!(
        text(&unchecked.stderr).contains(
            "`http.authentication`: needs the accounts of `auth.password_file`, `auth.devices` or `auth.jwt`"
        )
    );
    assert_eq!(names(dir.path()), ["passwords", "pod.toml"]);
}

#[test]
fn access_rules_are_looked_at_before_anything_opens() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[auth]\nacl_file = \"acl\"\n";
    let key = "pod.toml:2: `auth.acl_file`: ";
    let absent = "acl: cannot read the access rules: No such file or directory (os error 2)";
    assert_refused(dir.path(), config, &[&format!("{key}{absent}")]);
    fs::write(dir.path().join("acl"), "user anna\n\ntopic raed a/#\n").unwrap();
    let fault = "acl:3: `raed`: expected read, write, readwrite or deny in front of the topic";
    assert_refused(dir.path(), config, &[&format!("{key}{fault}")]);
    fs::write(dir.path().join("acl"), "user anna\n\ntopic read a/#\n").unwrap();
    let output = synap_mqtt(dir.path(), &["--config", "pod.toml", "check-config"], &[]);
    assert!(output.status.success(), "{output:?}");
    let wrong = "[[auth.rule]]\nallow = [\"publish\"]\ntopics = [\"a/#/b\"]\n";
    let problem = "pod.toml:3: `auth.rule[0].topics[0]`: \"a/#/b\": # must be the last character of a topic filter and stand alone \
                   in its level";
    assert_refused(dir.path(), wrong, &[problem]);
}

#[test]
fn what_other_machines_reach_asks_who_they_are_or_says_that_it_need_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("passwords"), "").unwrap();
    let open = "[[listener]]\nbind = \"0.0.0.0:0\"\n[http]\nbind = \"[::]:0\"\n";
    let listener = "0.0.0.0:0 is open to other machines and asks nobody who they are: it needs the accounts of \
                    `auth.password_file` with authentication = \"required\", or tls = { client_ca = … }; \
                    allow_anonymous = true where anyone may be a client";
    let http = "[::]:0 is open to other machines, and stream, page and stored events ask nobody who they are: say in \
                [http.auth] who may come in, bind it to 127.0.0.1, or set allow_anonymous = true where anyone may read \
                every event";
    let problems = [format!("pod.toml:2: `listener[0].bind`: {listener}"), format!("pod.toml:4: `http.bind`: {http}")];
    assert_refused(dir.path(), open, &[&problems[0], &problems[1]]);
    for right in [
        "[[listener]]\nbind = \"0.0.0.0:0\"\nallow_anonymous = true\n[http]\nbind = \"[::]:0\"\nallow_anonymous = true\n",
        "[[listener]]\nbind = \"0.0.0.0:0\"\n[auth]\npassword_file = \"passwords\"\n",
    ] {
        fs::write(dir.path().join("pod.toml"), right).unwrap();
        let output = synap_mqtt(dir.path(), &["check-config", "--config", "pod.toml"], &[]);
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).contains("# warning: `listener[0].bind` 0.0.0.0:0 is open"), "{output:?}");
    }
}

#[test]
fn certs_are_made_beside_the_ca_and_never_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| synap_mqtt(dir.path(), &[&["certs"], arguments].concat(), &[]);
    let device = run(&["device", "--name", "pump-7", "--san", "pump-7.example.org"]);
    assert!(device.status.success(), "{device:?}");
    assert_eq!(text(&device.stdout), "./data/certs/pump-7.pem\n./data/certs/pump-7.key\n");
    assert!(run(&["server"]).status.success());
    assert!(run(&["server", "--name", "broker", "--san", "192.0.2.7", "--out", "elsewhere"]).status.success());
    let certs = dir.path().join("data/certs");
    assert_eq!(names(&certs), ["ca.key", "ca.pem", "pump-7.key", "pump-7.pem", "server.key", "server.pem"]);
    assert_eq!(names(&dir.path().join("elsewhere")), ["broker.key", "broker.pem"]);

    for again in [&["ca"][..], &["server"], &["device", "--name", "pump-7"]] {
        let output = run(again);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("exists; --force replaces it"), "{output:?}");
        assert!(run(&[again, &["--force"]].concat()).status.success());
    }
}

/// What `openssl verify` says; none without openssl. `scripts/test` installs it.
fn openssl(certs: &Path, arguments: &[&str], file: &str) -> Option<Output> {
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-CAfile", "ca.pem"]).args(arguments).arg(file).current_dir(certs);
    command.output().ok()
}

#[test]
fn openssl_accepts_the_certificates() {
    let dir = tempfile::tempdir().unwrap();
    assert!(synap_mqtt(dir.path(), &["certs", "server"], &[]).status.success());
    assert!(synap_mqtt(dir.path(), &["certs", "device", "--name", "pump-7"], &[]).status.success());
    let certs = dir.path().join("data/certs");
    for (arguments, file, accepted) in [
        (&["-purpose", "sslserver", "-verify_hostname", "localhost"][..], "server.pem", true),
        (&["-purpose", "sslserver", "-verify_ip", "127.0.0.1"], "server.pem", true),
        (&["-purpose", "sslserver", "-verify_ip", "::1"], "server.pem", true),
        (&["-purpose", "sslserver", "-verify_hostname", "example.org"], "server.pem", false),
        (&["-purpose", "sslclient"], "server.pem", false),
        (&["-purpose", "sslclient"], "pump-7.pem", true),
        (&["-purpose", "sslserver"], "pump-7.pem", false),
    ] {
        let Some(output) = openssl(&certs, arguments, file) else { return };
        assert_eq!(output.status.success(), accepted, "{arguments:?} {file}: {output:?}");
    }
}
