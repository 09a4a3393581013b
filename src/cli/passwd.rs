//! `synap-mqtt passwd`: the accounts of a password file.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    auth::{PasswordFile, Verifier},
    limits,
};

/// Which account to add, change or delete.
#[derive(Debug, Args)]
pub struct Passwd {
    /// The password file; made where there is none
    file: PathBuf,
    /// The account's name: the user name that clients give
    name: String,
    /// Read the password from the first line of this file; else it is asked for, or read from
    /// standard input where that is no terminal
    #[arg(long, value_name = "FILE", conflicts_with = "delete")]
    password_file: Option<PathBuf>,
    /// For clients that prove their password by SCRAM-SHA-256 and never send it, and for passwords that a machine has
    /// made: checking one costs little. Else the account has an argon2id hash, which makes guessing expensive
    #[arg(long, conflicts_with = "delete")]
    scram: bool,
    /// Rounds of hashing of SCRAM, which guessing costs, and each CONNECT with this password too
    #[arg(
        long,
        value_name = "N",
        requires = "scram",
        default_value_t = limits::PASSWORD_ITERATIONS,
        value_parser = clap::value_parser!(u32)
            .range(i64::from(limits::MINIMUM_PASSWORD_ITERATIONS)..=i64::from(limits::MAXIMUM_PASSWORD_ITERATIONS)),
    )]
    iterations: u32,
    /// Delete the account
    #[arg(long)]
    delete: bool,
}

impl Passwd {
    /// Does it, and says what was done.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let done = if self.delete { self.delete()? } else { self.set()? };
        writeln!(io::stdout(), "{done} {}", self.name)?;
        Ok(())
    }

    fn set(&self) -> anyhow::Result<&'static str> {
        let mut file = PasswordFile::read_or_new(&self.file)?;
        let password = match &self.password_file {
            Some(file) => from_file(file)?,
            None if io::stdin().is_terminal() => from_terminal(&self.name)?,
            None => first_line(io::stdin().lock()).context("read the password from standard input")?,
        };
        if password.is_empty() {
            bail!("the password is empty");
        }
        let verifier =
            if self.scram { Verifier::scram_of(&password, self.iterations) } else { Verifier::of(&password) }?;
        let is_new = file.set(&self.name, verifier)?;
        file.write()?;
        Ok(if is_new { "added" } else { "changed" })
    }

    fn delete(&self) -> anyhow::Result<&'static str> {
        let mut file = PasswordFile::read(&self.file)?;
        if !file.remove(&self.name)? {
            bail!("{}: there is no account of this name", self.file.display());
        }
        file.write()?;
        Ok("deleted")
    }
}

fn from_file(file: &Path) -> anyhow::Result<Vec<u8>> {
    let read = fs::File::open(file).and_then(|file| first_line(io::BufReader::new(file)));
    read.with_context(|| format!("read the password from {}", file.display()))
}

/// Up to the end of the line, which is not a part of it.
fn first_line(mut input: impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let end = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).map_or(line.len(), <[u8]>::len);
    line.truncate(end);
    Ok(line)
}

/// Twice, without echo: what is typed blindly is easily mistyped.
fn from_terminal(name: &str) -> anyhow::Result<Vec<u8>> {
    let ask = |prompt: &str| rpassword::prompt_password(prompt).context("read the password from the terminal");
    let password = ask(&format!("Password of {name}: "))?;
    if ask("Again: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password.into_bytes())
}
