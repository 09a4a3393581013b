//! Records that are bad, as they were, in a file from which they can be imported once they are mended.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use crate::cli::output::Output;

/// That file, which is only made where there is something for it.
pub struct BadFile {
    path: PathBuf,
    header: Option<String>,
    out: Option<BufWriter<Output>>,
}

impl BadFile {
    /// `header` is the first row, where records need one.
    pub const fn new(path: PathBuf, header: Option<String>) -> Self {
        Self { path, header, out: None }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// As the file system says.
    pub fn push(&mut self, text: &str) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            empty => {
                let mut out = BufWriter::new(Output::file(&self.path)?);
                if let Some(header) = &self.header {
                    writeln!(out, "{header}")?;
                }
                empty.insert(out)
            }
        };
        writeln!(out, "{text}")
    }

    /// Makes the file whole, and says where it is, if there is one.
    ///
    /// # Errors
    /// As the file system says.
    pub fn finish(&mut self) -> io::Result<Option<&PathBuf>> {
        let Some(out) = self.out.take() else { return Ok(None) };
        out.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
        Ok(Some(&self.path))
    }
}
