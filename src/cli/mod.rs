//! The command line: its arguments, and the commands that do their work without the bridge.

mod apikey;
mod certs;
mod dead_letters;
mod devices;
mod export;
mod files;
mod import;
mod interrupt;
mod migrate;
mod output;
mod passwd;
mod progress;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Parser, Subcommand};

use crate::config::{KeyPath, Settings};

/// Exit code of a wrong configuration: EX_CONFIG of sysexits.h.
pub const EX_CONFIG: u8 = 78;

/// Bridge between IoT devices and a Synap pod: MQTT in, durable events in TimescaleDB,
/// Server-Sent Events out. Without a command, runs the bridge.
#[derive(Debug, Parser)]
#[command(name = "synap-mqtt", version)]
pub struct Cli {
    /// TOML file; without it, defaults for this machine only. Variables SYNAP_MQTT__SECTION__KEY
    /// override its keys, and DATABASE_URL the database's.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do instead of running the bridge.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// What is wrong with the files that the settings name, each with its key. Making
    /// certificates and accounts needs none of them.
    #[must_use]
    pub fn check_files(&self, settings: &Settings) -> Vec<(KeyPath, String)> {
        match self.command {
            Some(Command::ApiKey(_) | Command::Certs(_) | Command::Devices(_) | Command::Passwd(_)) => Vec::new(),
            _ => files::check(settings),
        }
    }
}

/// A command that does its work and ends.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, list and revoke keys for programs that use the HTTP API
    #[command(subcommand, name = "apikey")]
    ApiKey(apikey::ApiKeyCommand),
    /// Check the configuration and print what is in effect, passwords hidden
    CheckConfig,
    /// Make development certificates under the data directory
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Look at publications that were refused, or try them again
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Let devices in, each with its own password or certificate and topics, and keep them out again
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Write stored events to a file, or to standard output
    Export(export::Export),
    /// Store events of files, or a device's past, in the database
    Import(import::Import),
    /// Add, change or delete an account of a password file
    Passwd(passwd::Passwd),
    /// Prepare the database as its owner: apply migrations, convert a plain table of events
    Migrate(migrate::Migrate),
}

impl Command {
    /// Does the work; what it has to say goes to standard output.
    ///
    /// # Errors
    /// When a file cannot be read or written, or must not be overwritten; when the database refuses.
    pub fn run(self, settings: &Settings) -> anyhow::Result<()> {
        match self {
            Self::ApiKey(command) => command.run(settings),
            Self::CheckConfig => check_config(settings),
            Self::Certs(certs) => certs.run(settings),
            Self::DeadLetters(letters) => letters.run(settings),
            Self::Devices(devices) => devices.run(settings),
            Self::Export(export) => export.run(settings),
            Self::Import(import) => import.run(settings),
            Self::Passwd(passwd) => passwd.run(),
            Self::Migrate(migrate) => migrate.run(settings),
        }
    }
}

/// Prints settings that are known to be right.
fn check_config(settings: &Settings) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", toml::to_string(settings)?)?;
    for warning in settings.warnings() {
        writeln!(out, "# warning: {warning}")?;
    }
    for note in settings.notes() {
        writeln!(out, "# note: {note}")?;
    }
    writeln!(out, "ok")?;
    Ok(())
}
