//! `synap-mqtt dead-letters`: what was refused, and a second try for it.

use std::io::{self, Write};

use clap::Subcommand;

use crate::{
    app::dead_letters,
    config::Settings,
    types::{DeadLetter, TopicFilter},
};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List them, the last received first
    List {
        /// Only of topics that match; connections of devices have none, and only # takes them
        #[arg(long, value_name = "FILTER", default_value = "#")]
        topic: TopicFilter,
        /// One JSON object a line, payload included
        #[arg(long)]
        json: bool,
    },
    /// Map them by the routes as they are now and store what they become; what is refused again stays
    Replay {
        /// Only of topics that match; connections of devices have none, and only # takes them
        #[arg(long, value_name = "FILTER", default_value = "#")]
        topic: TopicFilter,
    },
}

/// A letter in a line.
fn line(letter: &DeadLetter) -> String {
    let DeadLetter { received_at, topic, client_id, reason, device, .. } = letter;
    match device {
        Some(device) => format!("{received_at}  connection of {device}  by {client_id}: {reason}"),
        None => format!("{received_at}  {topic}  from {client_id}: {reason}"),
    }
}

impl DeadLetters {
    /// Does the work.
    ///
    /// # Errors
    /// When there is no database, or it does not answer.
    pub fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut out = io::stdout().lock();
        match self {
            Self::List { topic, json } => runtime.block_on(dead_letters::list(settings, &topic, |letter| {
                match json {
                    true => writeln!(out, "{}", serde_json::to_string(letter)?)?,
                    false => writeln!(out, "{}", line(letter))?,
                }
                Ok(())
            })),
            Self::Replay { topic } => {
                let replayed = runtime.block_on(dead_letters::replay(settings, &topic))?;
                writeln!(out, "stored {}, refused again {}", replayed.stored, replayed.refused)?;
                Ok(())
            }
        }
    }
}
