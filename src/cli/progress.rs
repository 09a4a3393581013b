//! How far a long command is: a bar on standard error, where that is a terminal, and a line at its end, always.

use std::{
    io::{self, Write},
    time::Instant,
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// For work whose size is known by bytes.
const MEASURED: &str = "{wide_bar} {bytes}/{total_bytes}, {msg}, {eta} left";

/// For work whose end nobody knows.
const COUNTED: &str = "{spinner} {msg}, {elapsed}";

/// How far it is.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Of so many bytes, where that is known.
    pub fn new(bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
        let template = if bytes.is_some() { MEASURED } else { COUNTED };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, started: Instant::now() }
    }

    /// Shows how far it is; `message` is only made where it is seen.
    pub fn show(&self, bytes: u64, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
            self.bar.set_position(bytes);
        }
    }

    /// Says something without harm to the bar.
    ///
    /// # Errors
    /// As standard error says.
    pub fn say(&self, line: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(io::stderr(), "{line}"))
    }

    /// Takes the bar away, and says what was done, how much and how long.
    ///
    /// # Errors
    /// As standard error says.
    pub fn finish(&self, done: &str, bytes: u64) -> io::Result<()> {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        writeln!(io::stderr(), "{done}, {}, {seconds:.1} s", HumanBytes(bytes))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
