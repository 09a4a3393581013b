//! A file that is there whole or not at all: written under a name of its own beside it, synced, then renamed. Standard
//! output, devices and pipes are written as they are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Stdout, Write},
    path::{Path, PathBuf},
    process,
};

/// Where a command writes to, with a count of the bytes.
pub struct Output {
    kind: Kind,
    bytes: u64,
}

enum Kind {
    Stdout(Stdout),
    /// A device or a pipe.
    Stream(File),
    Whole(Whole),
}

/// A file under its name for the meantime. Goes with this value unless it is made the one that is asked for.
struct Whole {
    file: File,
    part: PathBuf,
    target: PathBuf,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self { kind: Kind::Stdout(io::stdout()), bytes: 0 }
    }

    /// A file, replaced where it exists; the one that a link leads to.
    ///
    /// # Errors
    /// As the file system says.
    pub fn file(path: &Path) -> io::Result<Self> {
        let target = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                let kind = Kind::Stream(OpenOptions::new().write(true).open(path)?);
                return Ok(Self { kind, bytes: 0 });
            }
            Ok(_) => path.canonicalize()?,
            Err(_) => path.to_owned(),
        };
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy().into_owned();
        let part = target.with_file_name(format!(".{name}.{}.part", process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        Ok(Self { kind: Kind::Whole(Whole { file, part, target }), bytes: 0 })
    }

    /// Makes it the file that was asked for.
    ///
    /// # Errors
    /// As the file system says; there is no new file then.
    pub fn commit(mut self) -> io::Result<u64> {
        self.flush()?;
        if let Kind::Whole(whole) = &self.kind {
            whole.file.sync_all()?;
            fs::rename(&whole.part, &whole.target)?;
            let directory = whole.target.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(self.bytes)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.kind {
            Kind::Stdout(out) => out.write(bytes),
            Kind::Stream(file) => file.write(bytes),
            Kind::Whole(whole) => whole.file.write(bytes),
        }?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Stdout(out) => out.flush(),
            Kind::Stream(_) | Kind::Whole(_) => Ok(()),
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Where it was renamed there is nothing of this name any more.
        let _gone = fs::remove_file(&self.part);
    }
}
