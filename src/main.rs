//! The `synap-mqtt` binary: settings first, then the log, then everything else.

use std::process::ExitCode;

use clap::Parser;
use synap_mqtt::{
    app,
    cli::{Cli, EX_CONFIG},
    config::{self, LogFormat, Settings},
    telemetry::{Metrics, log},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let check_files = |settings: &Settings| cli.check_files(settings);
    let settings = match config::load(cli.config.as_deref(), std::env::vars_os(), check_files) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    let outcome = match cli.command {
        Some(command) => command.run(&settings),
        None => run(settings),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synap-mqtt: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let filter = settings.log.filter.as_str();
    match settings.log.format {
        LogFormat::Text => log::text(filter)?,
        LogFormat::Json => log::json(filter)?,
    }
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let metrics = Metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::run(settings, metrics))
}
