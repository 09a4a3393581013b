//! `journal`: measures the journal alone and prints Markdown tables. See `bench/README.md`.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use synap_mqtt::journal::{Journal, JournalOptions, MemoryBudget};
use synap_mqtt_bench::journal::{From, Goal, Shape, append_rate, fill, read_all, recover, seek, sync_time};

/// Tasks that append, and records of each append.
const APPENDERS: [usize; 3] = [1, 10, 100];
const BATCHES: [usize; 4] = [1, 10, 100, 1000];

/// Seeks of a kind; fewer where each goes to the disk.
const SEEKS: usize = 1000;
const DISK_SEEKS: usize = 100;

/// Measures the journal alone.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where journals are made, on a real disk.
    #[arg(long, default_value = "target/bench", global = true)]
    dir: PathBuf,
    /// Records of the largest journal; the others have a tenth and a hundredth.
    #[arg(long, default_value_t = 1_000_000, global = true)]
    records: usize,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 100, global = true)]
    payload: usize,
    /// Runs of which the best is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each measurement of appending.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Subcommand)]
enum Mode {
    /// Fills a journal, says so, and waits to be killed.
    #[command(hide = true)]
    Fill,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let shape = Shape { payload: cli.payload };
    if let Some(Mode::Fill) = cli.mode {
        return fill_until_killed(&cli.dir, shape, cli.records).await;
    }
    std::fs::create_dir_all(&cli.dir)?;
    let scratch = tempfile::tempdir_in(&cli.dir)?;
    println!("Best of {} runs; {} bytes of payload, {} a record.\n", cli.runs, cli.payload, shape.record_bytes());
    let syncs = (0..cli.runs).map(|_| sync_time(scratch.path())).collect::<Result<Vec<_>>>()?;
    println!("A write of 4 KiB with fdatasync: {}\n", micros(syncs.iter().min().copied().unwrap_or_default()));
    print_appends(&cli, scratch.path(), shape).await?;
    print_sizes(&cli, scratch.path(), shape).await
}

async fn fill_until_killed(directory: &Path, shape: Shape, records: usize) -> Result<()> {
    let (journal, _) = Journal::open(directory, JournalOptions::default())?;
    fill(&journal, shape, records).await?;
    writeln!(std::io::stdout(), "filled")?;
    std::future::pending().await
}

async fn print_appends(cli: &Cli, scratch: &Path, shape: Shape) -> Result<()> {
    let titles = BATCHES.map(|batch| format!(" {batch} an append |")).concat();
    println!("| durable records/s |{titles}\n| --- |{}", " ---: |".repeat(BATCHES.len()));
    for appenders in APPENDERS {
        print!("| {appenders} at a time |");
        for batch in BATCHES {
            let mut best = 0.0_f64;
            for _ in 0..cli.runs {
                let directory = tempfile::tempdir_in(scratch)?;
                let time = Duration::from_secs(cli.seconds);
                best = best.max(append_rate(directory.path(), shape, appenders, batch, time).await?);
            }
            print!(" {best:.0} |");
            std::io::stdout().flush()?;
        }
        println!();
    }
    println!();
    Ok(())
}

/// The best of some runs over a journal of one size.
#[derive(Default)]
struct Best {
    recovery: Option<Duration>,
    /// By goal, then from where.
    seeks: [[Option<Duration>; 2]; 2],
    worst_percent: [[Option<Duration>; 2]; 2],
    reads: [Option<Duration>; 3],
}

fn improve(best: &mut Option<Duration>, time: Duration) {
    *best = Some(best.map_or(time, |known| known.min(time)));
}

async fn print_sizes(cli: &Cli, scratch: &Path, shape: Shape) -> Result<()> {
    println!(
        "| records | recovery after a kill | seek to a sequence, p50 / p99 | from disk | seek to a time, p50 / p99 | \
         from disk |\n| ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let mut largest = Best::default();
    for records in [cli.records / 100, cli.records / 10, cli.records] {
        largest = Best::default();
        for _ in 0..cli.runs {
            measure(&mut largest, scratch, shape, records).await?;
        }
        let cell = |goal: usize, from: usize| {
            let [median, p99] = [largest.seeks[goal][from], largest.worst_percent[goal][from]];
            format!("{} / {}", micros(median.unwrap_or_default()), micros(p99.unwrap_or_default()))
        };
        let recovery = largest.recovery.unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "| {records} | {recovery:.1} ms | {} | {} | {} | {} |",
            cell(0, 0),
            cell(0, 1),
            cell(1, 0),
            cell(1, 1)
        );
    }
    println!("\n| reading {} records in order | records/s | MB/s |\n| --- | ---: | ---: |", cli.records);
    for (from, best) in ["from disk", "from the page cache", "from the journal's memory"].iter().zip(largest.reads) {
        let seconds = best.unwrap_or_default().as_secs_f64();
        let per_second = cli.records as f64 / seconds;
        println!("| {from} | {per_second:.0} | {:.0} |", per_second * shape.record_bytes() as f64 / 1e6);
    }
    Ok(())
}

async fn measure(best: &mut Best, scratch: &Path, shape: Shape, records: usize) -> Result<()> {
    let directory = tempfile::tempdir_in(scratch)?;
    let path = directory.path();
    fill_and_kill(path, shape, records)?;
    let (journal, recovery) = recover(path)?;
    improve(&mut best.recovery, recovery);
    for (at, from) in [From::Disk, From::PageCache].into_iter().enumerate() {
        improve(&mut best.reads[at], read_all(&journal, path, records, from)?);
    }
    for (goal_at, goal) in [Goal::Sequence, Goal::Time].into_iter().enumerate() {
        for (from_at, (from, count)) in [(From::PageCache, SEEKS), (From::Disk, DISK_SEEKS)].into_iter().enumerate() {
            let times = seek(&journal, path, goal, from, count)?;
            improve(&mut best.seeks[goal_at][from_at], times.median);
            improve(&mut best.worst_percent[goal_at][from_at], times.p99);
        }
    }
    journal.close();
    drop(directory);

    let directory = tempfile::tempdir_in(scratch)?;
    let defaults = JournalOptions::default();
    let tail = 2 * records * shape.record_bytes() + (64 << 20);
    let options = JournalOptions { memory: MemoryBudget { tail, ..defaults.memory }, ..defaults };
    let (journal, _) = Journal::open(directory.path(), options)?;
    fill(&journal, shape, records).await?;
    improve(&mut best.reads[2], read_all(&journal, directory.path(), records, From::Memory)?);
    journal.close();
    Ok(())
}

/// Leaves a journal behind as a process does that is killed.
fn fill_and_kill(directory: &Path, shape: Shape, records: usize) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["fill", "--dir"])
        .arg(directory)
        .args(["--records", &records.to_string(), "--payload", &shape.payload.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let read = child.stdout.take().map(BufReader::new).context("no output")?.read_line(&mut said);
    child.kill()?;
    child.wait()?;
    read?;
    ensure!(said == "filled\n", "the journal was not filled");
    Ok(())
}

fn micros(time: Duration) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6)
}
