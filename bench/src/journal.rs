//! What the journal does alone, without MQTT. Each function is one measurement on a directory
//! of its own; a measurement that does not get what it asked for fails.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use synap_mqtt::{
    journal::{BatchBuilder, Journal, JournalOptions, Origin, Outcome, Reader, Record, Step, Watermark},
    types::{Micros, Publication, PublishProperties, Qos, Sequence, Signal},
};
use tokio::task::JoinSet;

/// Records of one append while a journal is filled, and appends at a time.
const FILL_BATCH: usize = 500;
const FILL_APPENDERS: usize = 8;

/// Records like those of telemetry, all of one size.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of each payload.
    pub payload: usize,
}

impl Shape {
    fn batch(self, records: usize, device: usize) -> BatchBuilder {
        let (topic, client_id) = (format!("devices/pump-{device:03}/telemetry"), format!("pump-{device:03}"));
        let publication = Publication {
            sequence: Sequence::ZERO,
            received: Micros::default(),
            topic: &topic,
            payload: &vec![b'x'; self.payload],
            qos: Qos::AtLeastOnce,
            retain: false,
            guaranteed: true,
            client_id: &client_id,
            properties: PublishProperties::default(),
        };
        let mut batch = BatchBuilder::default();
        for _ in 0..records {
            batch.push(&Record::Publication { publication, origin: Origin::Plain });
        }
        batch
    }

    /// Bytes of one record on disk.
    #[must_use]
    pub fn record_bytes(self) -> usize {
        self.batch(1, 0).bytes()
    }
}

/// Appends and waits until it is on disk.
async fn append(journal: &Journal, batch: BatchBuilder) -> Result<()> {
    let signal = Arc::new(Signal::new());
    let batch = journal.append(batch, Some(&signal)).await?;
    while batch.outcome() == Outcome::Pending {
        signal.wait().await;
    }
    ensure!(batch.outcome() == Outcome::Durable, "the journal refused records");
    Ok(())
}

/// Records per second that `appenders` tasks get onto the disk, which each append `records` at
/// a time and wait for them before the next.
///
/// # Errors
/// When the journal refuses records.
pub async fn append_rate(
    directory: &Path,
    shape: Shape,
    appenders: usize,
    records: usize,
    time: Duration,
) -> Result<f64> {
    let (journal, _) = Journal::open(directory, JournalOptions::default())?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for device in 0..appenders {
        let journal = journal.clone();
        tasks.spawn(async move {
            let mut durable = 0;
            while start.elapsed() < time {
                append(&journal, shape.batch(records, device)).await?;
                durable += records;
            }
            anyhow::Ok(durable)
        });
    }
    let mut durable = 0;
    while let Some(appended) = tasks.join_next().await {
        durable += appended??;
    }
    let rate = durable as f64 / start.elapsed().as_secs_f64();
    journal.close();
    Ok(rate)
}

/// Median of the time that one write of 4 KiB at the end of a file, with fdatasync, takes on
/// this disk: what the journal cannot be faster than.
///
/// # Errors
/// As the file system says.
pub fn sync_time(directory: &Path) -> Result<Duration> {
    let file = File::create_new(directory.join("sync"))?;
    file.write_all_at(&vec![0; 4 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for block in 0..500 {
        let start = Instant::now();
        file.write_all_at(&[1; 4096], block * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(directory.join("sync"))?;
    Ok(Quantiles::of(times).median)
}

/// Appends `records`, all durable once this returns.
///
/// # Errors
/// When the journal refuses records.
pub async fn fill(journal: &Journal, shape: Shape, records: usize) -> Result<()> {
    let mut tasks = JoinSet::new();
    for device in 0..FILL_APPENDERS {
        let journal = journal.clone();
        let share = records / FILL_APPENDERS + usize::from(device < records % FILL_APPENDERS);
        tasks.spawn(async move {
            for start in (0..share).step_by(FILL_BATCH) {
                append(&journal, shape.batch(FILL_BATCH.min(share - start), device)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = tasks.join_next().await {
        filled??;
    }
    Ok(())
}

/// Drops a directory's files from the page cache, so that the next read is one of the disk.
///
/// # Errors
/// As the file system says.
pub fn forget(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        fadvise(File::open(entry?.path())?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Opens the journal of a process that was killed, from disk; returns the time that took.
///
/// # Errors
/// When the journal cannot be opened.
pub fn recover(directory: &Path) -> Result<(Journal, Duration)> {
    forget(directory)?;
    let start = Instant::now();
    let (journal, recovery) = Journal::open(directory, JournalOptions::default())?;
    let took = start.elapsed();
    ensure!(recovery.damage.is_empty(), "a kill has damaged the journal");
    Ok((journal, took))
}

/// Where reads find the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The disk.
    Disk,
    /// Segments that the kernel has in its page cache.
    PageCache,
    /// The journal's memory.
    Memory,
}

/// Reads and decodes all `records` from the beginning, as a start without a checkpoint or a
/// consumer that is far behind does; returns the time it took.
///
/// # Errors
/// When records are missing.
pub fn read_all(journal: &Journal, directory: &Path, records: usize, from: From) -> Result<Duration> {
    if from == From::Disk {
        forget(directory)?;
    }
    let mut reader = journal.reader(Sequence::ZERO, Watermark::Durable);
    let (start, mut found) = (Instant::now(), 0);
    while found < records {
        let slice = match (from, reader.step()) {
            (_, Step::Slice(slice)) => slice,
            (From::Disk | From::PageCache, Step::Disk) => reader.read_disk()?.context("records are missing")?,
            _ => anyhow::bail!("after {found} records the next is not where it should be"),
        };
        found += slice.records().filter(|record| matches!(record, Record::Publication { .. })).count();
    }
    Ok(start.elapsed())
}

/// What a seek looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A sequence.
    Sequence,
    /// A time of receipt.
    Time,
}

/// Finds `count` records anywhere in the journal, by sequence or by time, until each is read.
///
/// # Errors
/// When one is not found.
pub fn seek(journal: &Journal, directory: &Path, goal: Goal, from: From, count: usize) -> Result<Quantiles> {
    let first = publication_behind(&mut journal.reader(Sequence::ZERO, Watermark::Durable), |_, _| true)?;
    let end = journal.read_before(journal.watermark(Watermark::Durable).next())?.context("the journal is empty")?;
    let last = end.last().and_then(|batch| batch.get(batch.len().saturating_sub(1)));
    let Some(Record::Publication { publication: last, .. }) = last else { anyhow::bail!("no publication at the end") };
    let (sequences, micros) = (last.sequence.0 - first.0.0, last.received.get() - first.1.get());
    let mut times = Vec::new();
    for step in 0..count {
        // Irregular, and everywhere: the golden ratio's multiples modulo one.
        let place = (step as f64 * 0.618_033_988_749_894_9).fract();
        if from == From::Disk {
            forget(directory)?;
        }
        let start = Instant::now();
        match goal {
            Goal::Sequence => {
                let wanted = Sequence(first.0.0 + (place * sequences as f64) as u64);
                let mut reader = journal.reader(wanted.previous(), Watermark::Durable);
                let (found, _) = publication_behind(&mut reader, |sequence, _| sequence >= wanted)?;
                ensure!(found == wanted, "{found} in the place of {wanted}");
            }
            Goal::Time => {
                let wanted = Micros::saturating(first.1.get() + (place * micros as f64) as i64);
                let mut reader = journal.reader(journal.position_at(wanted)?, Watermark::Durable);
                let (_, found) = publication_behind(&mut reader, |_, received| received >= wanted)?;
                ensure!(found >= wanted, "{found} in the place of {wanted}");
            }
        }
        times.push(start.elapsed());
    }
    Ok(Quantiles::of(times))
}

/// Reads on until a publication is the one.
fn publication_behind(reader: &mut Reader, is_it: impl Fn(Sequence, Micros) -> bool) -> Result<(Sequence, Micros)> {
    loop {
        let slice = reader.read_disk()?.context("the record is not there")?;
        for record in slice.records() {
            if let Record::Publication { publication, .. } = record
                && is_it(publication.sequence, publication.received)
            {
                return Ok((publication.sequence, publication.received));
            }
        }
    }
}

/// Times, in order of size.
#[derive(Clone, Copy, Debug)]
pub struct Quantiles {
    /// Half are below.
    pub median: Duration,
    /// 99 % are below.
    pub p99: Duration,
}

impl Quantiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
        Self { median: at(0.5), p99: at(0.99) }
    }
}
