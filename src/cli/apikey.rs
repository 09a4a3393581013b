//! `synap-mqtt apikey`: keys for programs that use the HTTP API.

use std::{
    fs,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::{
    auth::web::{ApiKey, ApiKeyFile},
    config::Settings,
    types::{Grant, Micros, seconds_of},
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key, and print it: it is stored nowhere else
    Create(Create),
    /// Print names, rights and ends of all keys
    List,
    /// Take a key away: what is open for it ends within seconds
    Revoke {
        /// The key's name
        name: String,
    },
}

/// The key to make.
#[derive(Debug, Args)]
pub struct Create {
    /// What the key is called, such as the program that gets it
    name: String,
    /// What its holder may do: stream:read, events:read, publish, commands or admin, alone or for the topics of one
    /// filter, such as publish=devices/+/command; may be repeated
    #[arg(long, value_name = "SCOPE[=FILTER]", required = true)]
    allow: Vec<Grant>,
    /// When it ends, such as 30d or 12h; without it, never
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires_in: Option<Duration>,
}

impl ApiKeyCommand {
    /// Does it.
    pub(super) fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let path = settings.api_keys_path();
        let mut file = ApiKeyFile::read(&path)?;
        let mut out = io::stdout().lock();
        match self {
            Self::Create(create) => {
                let secret = file.create(&create.name, create.allow, create.expires_in.map(from_now))?;
                fs::create_dir_all(&settings.data_dir)
                    .with_context(|| format!("make the directory {}", settings.data_dir.display()))?;
                file.write()?;
                writeln!(out, "{secret}")?;
                if !settings.http.auth.api_keys {
                    writeln!(io::stderr(), "the bridge takes no keys yet: set `http.auth.api_keys = true`")?;
                }
            }
            Self::List => {
                for key in file.keys() {
                    writeln!(out, "{}", line(key))?;
                }
            }
            Self::Revoke { name } => {
                if !file.revoke(&name) {
                    bail!("{}: there is no key of the name {name:?}", path.display());
                }
                file.write()?;
                writeln!(out, "revoked {name}")?;
            }
        }
        Ok(())
    }
}

fn line(key: &ApiKey) -> String {
    let allow: Vec<_> = key.allow.iter().map(ToString::to_string).collect();
    let end = key.expires.map_or_else(|| "never".to_owned(), |expires| expires.to_string());
    format!("{}\tallow {}\tcreated {}\texpires {end}", key.name, allow.join(" "), key.created)
}

/// `90m`, `12h` or `30d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let seconds = seconds_of(text).filter(|seconds| (1..=MOST_SECONDS).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a time such as 90m, 12h or 30d, at most 36500d".to_owned())
}

const MOST_SECONDS: u64 = 36_500 * 86_400;

fn from_now(lifetime: Duration) -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Micros::saturating(i64::try_from((since + lifetime).as_micros()).unwrap_or(i64::MAX))
}
