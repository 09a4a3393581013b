//! `synap-mqtt export`: stored events become a file.

use std::{
    io::{self, BufWriter, IsTerminal},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use url::Url;
use uuid::Uuid;

use super::{
    interrupt::{runtime, unless_interrupted},
    output::Output,
    progress::Progress,
};
use crate::{
    app,
    config::Settings,
    formats::{EventWriter, Format},
    types::{EventQuery, Micros, TopicFilter},
};

/// Which events, and where to.
#[derive(Debug, Args)]
pub struct Export {
    /// Form of the file; by default what the end of its name says, else NDJSON
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The file, which is there once it is whole; `-` for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Only what happened at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME")]
    from: Option<Micros>,
    /// Only what happened before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Micros>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only of the device of this name
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only of topics that match
    #[arg(long, value_name = "FILTER")]
    topic: Option<TopicFilter>,
    /// Only about the subject with this id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only of this chain of cause and effect
    #[arg(long, value_name = "UUID")]
    correlation: Option<Uuid>,
    /// Ask a bridge that runs, at the URL of its HTTP port, instead of database or data directory
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// A file whose first line is the token to show to that bridge
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
}

impl Export {
    /// Does it, and says how much there was.
    pub(super) fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let is_stdout = self.output.as_os_str() == "-";
        let format = self.format.or_else(|| Format::of(&self.output)).unwrap_or(Format::Ndjson);
        if is_stdout && format == Format::Parquet && io::stdout().is_terminal() {
            bail!("Parquet is nothing for a terminal: --output names a file");
        }
        let output = match is_stdout {
            true => Output::stdout(),
            false => Output::file(&self.output).with_context(|| format!("write {}", self.output.display()))?,
        };
        let name = if is_stdout { String::new() } else { format!(" to {}", self.output.display()) };
        let mut writer = EventWriter::new(format, BufWriter::new(output))?;
        let (progress, mut events, mut bytes) = (Progress::new(None), 0_u64, 0_u64);
        let mut take = |json: &str| {
            writer.push(json).context("write an event")?;
            (events, bytes) = (events + 1, bytes + json.len() as u64);
            if events % 1_000 == 0 {
                progress.show(bytes, || format!("{events} events"));
            }
            Ok(())
        };
        let token_file = self.token_file.as_deref();
        let server = self.url.as_ref().map(|url| app::export::Server { url, token_file });
        let export = app::export::export(settings, self.query(), server, &mut take);
        let done = match runtime()?.block_on(unless_interrupted(export)) {
            // Who reads has had enough, as `head` has.
            Err(error) if is_stdout && is_broken_pipe(&error) => return Ok(()),
            done => done?,
        };
        if done.is_none() {
            bail!("interrupted after {events} events{}", if is_stdout { "" } else { "; nothing was written" });
        }
        let output = writer.finish().and_then(|buffered| buffered.into_inner().map_err(io::IntoInnerError::into_error));
        let bytes = output.and_then(Output::commit).with_context(|| format!("write {}", self.output.display()))?;
        Ok(progress.finish(&format!("exported {events} events{name}"), bytes)?)
    }

    fn query(&self) -> EventQuery {
        EventQuery {
            topic: self.topic.clone(),
            event_type: self.event_type.clone(),
            device: self.device.clone(),
            subject: self.subject.clone(),
            correlation: self.correlation,
            from: self.from,
            to: self.to,
            ..EventQuery::everything(crate::limits::MAXIMUM_EVENTS_PAGE)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let source = error.root_cause().downcast_ref::<io::Error>();
    source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
