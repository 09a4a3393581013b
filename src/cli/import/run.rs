//! One file on its way in: batches, what is bad, and what is said of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::bad::BadFile;
use crate::{
    app::import::{Counts, Planned},
    cli::progress::Progress,
    formats::{Entry, FileError, Meter},
    limits,
    timescale::Loader,
};

/// A file that is being imported.
pub struct Run<'a> {
    name: String,
    /// None where nothing is to be stored.
    loader: Option<&'a mut Loader>,
    /// Line and text of what the batch at hand has; texts only where bad records are kept.
    pending: Vec<(u64, String)>,
    bad: Option<BadFile>,
    counts: Counts,
    progress: Progress,
}

impl<'a> Run<'a> {
    /// With `bad`, goes on behind bad records, which go there.
    pub fn new(
        path: &Path,
        loader: Option<&'a mut Loader>,
        bad: Option<PathBuf>,
        header: Option<String>,
        size: Option<u64>,
    ) -> Self {
        Self {
            name: path.display().to_string(),
            loader,
            pending: Vec::new(),
            bad: bad.map(|path| BadFile::new(path, header)),
            counts: Counts::default(),
            progress: Progress::new(size),
        }
    }

    /// Stores what the file holds.
    pub async fn import(
        &mut self,
        entries: impl Iterator<Item = Result<Entry<Planned>, FileError>>,
        meter: &Meter,
    ) -> anyhow::Result<()> {
        for entry in entries {
            let Entry { line, text, found } = entry.with_context(|| self.name.clone())?;
            let planned = match found {
                Ok(planned) => planned,
                Err(error) => {
                    self.bad(line, &text, &error.to_string())?;
                    continue;
                }
            };
            let Some(loader) = self.loader.as_deref_mut() else {
                self.counts.stored += 1;
                continue;
            };
            let pushed = loader.push(&planned.event, planned.with_row, planned.measurements.as_ref());
            if let Err(reason) = pushed {
                self.bad(line, &text, &reason)?;
                continue;
            }
            let text = if self.bad.is_some() { text } else { String::new() };
            self.pending.push((line, text));
            if loader.is_full() {
                self.flush(meter).await?;
            }
        }
        self.flush(meter).await
    }

    async fn flush(&mut self, meter: &Meter) -> anyhow::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let Some(loader) = self.loader.as_deref_mut() else { return Ok(()) };
        let loaded = loader.flush().await?;
        self.counts.add(&loaded);
        for refused in &loaded.refused {
            if let Some((line, text)) = pending.get(refused.number) {
                self.bad(*line, text, &format!("the table refuses it: {}", refused.reason))?;
            }
        }
        self.progress.show(meter.bytes(), || format!("{} events", self.counts.stored + self.counts.known));
        Ok(())
    }

    /// Tells of a bad record; it is the end, unless such are to be left out.
    fn bad(&mut self, line: u64, text: &str, error: &str) -> anyhow::Result<()> {
        self.counts.bad += 1;
        let told = format!("{}:{line}: {error}", self.name);
        match &mut self.bad {
            Some(bad) => bad.push(text).context("keep a bad record")?,
            None if self.loader.is_some() => bail!("{told}"),
            // Only to be looked at: all that is wrong is told.
            None => {}
        }
        match self.counts.bad {
            told_so_far if told_so_far < limits::TOLD_BAD_RECORDS => self.progress.say(&told)?,
            limits::TOLD_BAD_RECORDS => self.progress.say(&format!("{told}; further ones are only counted"))?,
            _ => {}
        }
        Ok(())
    }

    /// Says what became of the file; `done` is whether its end was reached.
    pub fn finish(mut self, done: anyhow::Result<bool>, meter: &Meter) -> anyhow::Result<()> {
        let Counts { stored, measurements, known, bad } = self.counts;
        let left = match &mut self.bad {
            Some(file) => file.finish().context("keep bad records")?.map(|path| format!(", in {}", path.display())),
            None => None,
        };
        let numbers = if measurements > 0 { format!(", {measurements} measurements") } else { String::new() };
        let so_far =
            format!("{stored} events stored{numbers}, {known} there already, {bad} bad{}", left.unwrap_or_default());
        match done {
            Ok(true) if self.loader.is_none() => {
                self.progress.finish(&format!("{}: {stored} events, {bad} bad", self.name), meter.bytes())?;
                if bad > 0 { bail!("{} has bad records", self.name) } else { Ok(()) }
            }
            Ok(true) => Ok(self.progress.finish(&format!("{}: {so_far}", self.name), meter.bytes())?),
            Ok(false) => bail!("interrupted; {so_far}; importing the file again adds what is missing"),
            Err(error) => {
                let hint = if bad > 0 { "; --skip-bad goes on without such records" } else { "" };
                bail!("{error:#}\n{}: {so_far}; importing it again adds what is missing{hint}", self.name)
            }
        }
    }
}
