//! The `synap-mqtt` binary: settings first, then the log, then everything else.

use std::process::ExitCode;

use clap::Parser;
use synap_mqtt::{
    app::{self, Reload},
    cli::{Cli, EX_CONFIG},
    config::{self, ConfigError, LogFormat, Settings},
    telemetry::{Metrics, log},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = match load(&cli) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    let outcome = match cli.command {
        Some(command) => command.run(&settings),
        None => run(settings, Cli { command: None, ..cli }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synap-mqtt: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(cli: &Cli) -> Result<Settings, ConfigError> {
    config::load(cli.config.as_deref(), std::env::vars_os(), |settings| cli.check_files(settings))
}

fn run(settings: Settings, cli: Cli) -> anyhow::Result<()> {
    let filter = settings.log.filter.as_str();
    let log = match settings.log.format {
        LogFormat::Text => log::text(filter)?,
        LogFormat::Json => log::json(filter)?,
    };
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let metrics = Metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let load = Box::new(move || load(&cli).map_err(|error| error.to_string()));
    runtime.block_on(app::run(settings, metrics, Reload { load, log }))
}
