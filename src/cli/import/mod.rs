//! `synap-mqtt import`: files of events, and of a device's past, become rows.

mod bad;
mod run;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use clap::Args;

use self::run::Run;
use crate::{
    app::import::{Past, Planned, open, planned},
    cli::interrupt::{runtime, unless_interrupted},
    config::Settings,
    formats::{Choice, Format, Meter, Opened, TimeOptions, UtcOffset, origin, read_parquet, read_plain, read_text},
    types::Micros,
};

/// Which files, and what they are.
#[derive(Debug, Args)]
pub struct Import {
    /// Files that `export` or `GET /api/events` have written, or plain CSV with --time; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Form of the files; by default what the ends of their names say
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Plain CSV: the column with the time
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Plain CSV: the device whose past it is
    #[arg(long, value_name = "NAME", requires = "time")]
    device: Option<String>,
    /// Plain CSV: the topic that rows count as published to, by which the routes say what they are; without it
    /// devices/NAME/telemetry
    #[arg(long, value_name = "TOPIC", requires = "time")]
    topic: Option<String>,
    /// Plain CSV: the columns that are wanted, each with another name where there is one; all by default
    #[arg(long, value_name = "COLUMN[=NAME]", value_delimiter = ',', requires = "time")]
    columns: Vec<Choice>,
    /// Plain CSV: how times are written, as for strftime
    #[arg(long, value_name = "FORMAT", requires = "time")]
    time_format: Option<String>,
    /// Plain CSV: how far times that do not say so are ahead of UTC
    #[arg(long, value_name = "OFFSET", requires = "time", allow_hyphen_values = true)]
    utc_offset: Option<UtcOffset>,
    /// Go on behind records that are bad, and put them into a file beside
    #[arg(long)]
    skip_bad: bool,
    /// That file; by default FILE.bad.csv or FILE.bad.ndjson
    #[arg(long, value_name = "FILE", requires = "skip_bad")]
    bad_file: Option<PathBuf>,
    /// Let a bridge that takes over what others write show the events in its streams
    #[arg(long)]
    stream: bool,
    /// Only say what is wrong with the files
    #[arg(long, conflicts_with = "stream")]
    check: bool,
}

impl Import {
    /// Does it, file by file, and says what became of each.
    pub(super) fn run(self, settings: &Settings) -> anyhow::Result<()> {
        if self.time.is_some() && self.device.is_none() && self.topic.is_none() {
            bail!("whose past is it? --device names the device, or --topic the topic");
        }
        if self.bad_file.is_some() && self.files.len() > 1 {
            bail!("--bad-file is for one file; by default each has its own beside it");
        }
        runtime()?.block_on(async {
            let mut loader = if self.check { None } else { Some(open(settings, self.stream).await?) };
            for path in &self.files {
                let meter = Meter::default();
                let size = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|found| found.len());
                let opened = self.read(settings, path, &meter).with_context(|| path.display().to_string())?;
                let bad = self.skip_bad.then(|| self.bad_path(path, opened.header.is_some()));
                let mut run = Run::new(path, loader.as_mut(), bad, opened.header.clone(), size);
                let done = unless_interrupted(run.import(opened.entries, &meter)).await;
                run.finish(done.map(|done| done.is_some()), &meter)?;
            }
            match loader {
                Some(loader) => Ok(loader.close().await?),
                None => Ok(()),
            }
        })
    }

    /// The records of a file, as what they become.
    fn read(&self, settings: &Settings, path: &Path, meter: &Meter) -> anyhow::Result<Opened<Planned>> {
        let is_stdin = path.as_os_str() == "-";
        let format = self.format.or_else(|| Format::of(path));
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let origin = origin(if is_stdin { "-" } else { &name }, now());
        let input = || -> io::Result<Box<dyn io::Read>> {
            Ok(if is_stdin { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
        };
        if let Some(time) = &self.time {
            if format.is_some_and(|format| format != Format::Csv) {
                bail!("--time is for plain CSV");
            }
            let topic = self
                .topic
                .clone()
                .unwrap_or_else(|| format!("devices/{}/telemetry", self.device.as_deref().unwrap_or_default()));
            topic.parse::<crate::types::TopicName>().with_context(|| format!("the topic {topic:?}"))?;
            let past = Past::new(settings, topic, self.device.as_deref(), &origin)?;
            let times = TimeOptions { format: self.time_format.clone(), offset: self.utc_offset };
            let rows = read_plain(input()?, meter, time, &self.columns, times)?;
            let entries = rows.entries.map(move |entry| Ok(planned(entry?, |row| past.plan(&row))));
            return Ok(Opened { header: rows.header, entries: Box::new(entries) });
        }
        let events = match format {
            None => bail!("--format says what it is, or the end of its name: .ndjson, .csv or .parquet"),
            Some(Format::Parquet) if !is_stdin => read_parquet(File::open(path)?, meter, &origin)?,
            Some(format) => read_text(format, input()?, meter, &origin)?,
        };
        let entries = events.entries.map(|entry| Ok(planned(entry?, |event| Ok(event.into()))));
        Ok(Opened { header: events.header, entries: Box::new(entries) })
    }

    /// Where bad records of a file go.
    fn bad_path(&self, path: &Path, is_csv: bool) -> PathBuf {
        let name = if path.as_os_str() == "-" { "stdin".into() } else { path.display().to_string() };
        let end = if is_csv { "csv" } else { "ndjson" };
        self.bad_file.clone().unwrap_or_else(|| format!("{name}.bad.{end}").into())
    }
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::saturating(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
