//! `synap-mqtt migrate`: prepares the database, for an owner's role that the bridge itself
//! need not have.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    app,
    config::Settings,
    timescale::{Administration, Keep},
};

/// What to do besides applying migrations.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Make a hypertable of a plain table of events, without losing a row
    #[arg(long)]
    convert_events: bool,
    /// Only show what would be done
    #[arg(long)]
    plan: bool,
    /// Do not ask before converting
    #[arg(long)]
    yes: bool,
}

impl Migrate {
    /// Shows the plan, and does it.
    pub(super) fn run(&self, settings: &Settings) -> anyhow::Result<()> {
        let Some(database) = app::database(settings)? else {
            bail!("no database is named: set `timescale.url`, or DATABASE_URL");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut administration = Administration::open(&database).await?;
            self.migrate(&mut administration, database.keep).await?;
            if self.convert_events { self.convert(&mut administration).await } else { Ok(()) }
        })
    }

    async fn migrate(&self, administration: &mut Administration, keep: Keep) -> anyhow::Result<()> {
        let mut out = io::stdout();
        let pending = administration.pending().await?;
        let names: Vec<_> = pending.iter().map(|(version, name)| format!("{version} {name}")).collect();
        match (names.is_empty(), self.plan) {
            (true, _) => writeln!(out, "migrations: all are applied")?,
            (false, true) => {
                writeln!(out, "migrations to apply: {}", names.join(", "))?;
                return Ok(());
            }
            (false, false) => {
                writeln!(out, "applying migrations: {}", names.join(", "))?;
                administration.migrate().await?;
            }
        }
        writeln!(out, "{}", administration.table().await?.describe())?;
        if !self.plan && !keep.is_nothing() {
            for shortfall in administration.keep().await?.unwrap_or_default() {
                writeln!(out, "{shortfall}")?;
            }
        }
        Ok(())
    }

    async fn convert(&self, administration: &mut Administration) -> anyhow::Result<()> {
        let mut out = io::stdout();
        let Some(plan) = administration.conversion().await? else {
            writeln!(out, "nothing to convert")?;
            return Ok(());
        };
        write!(out, "{plan}")?;
        if !plan.is_possible() {
            bail!("the table cannot be converted before what is in the way is gone");
        }
        if self.plan {
            return Ok(());
        }
        if !self.yes && !is_confirmed()? {
            bail!("nothing was converted");
        }
        let rows = administration.convert().await?;
        writeln!(out, "converted, {rows} rows")?;
        Ok(())
    }
}

/// Asks at the terminal; without one, `--yes` must say so.
fn is_confirmed() -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask at: give --yes to convert");
    }
    write!(io::stdout(), "Convert? [y/N] ")?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
