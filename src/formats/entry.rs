//! One record of a file, and what can be wrong with it, or with the file.

use std::io;

/// A record, where it stands, and what it is.
#[derive(Debug)]
pub struct Entry<T> {
    /// The line that it begins at, from 1; in a Parquet file the row.
    pub line: u64,
    /// Its text as it was, without the end of the line, so that it can be mended and tried again.
    pub text: String,
    /// What it says, or what is wrong with it.
    pub found: Result<T, FieldError>,
}

/// What is wrong with a record, with the field where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A field is missing or wrong.
    #[error("`{field}`: {problem}")]
    Field {
        /// Its name.
        field: String,
        /// What is wrong, or what is expected.
        problem: String,
    },
    /// It is no record at all.
    #[error("{0}")]
    Record(String),
}

impl FieldError {
    /// A field with a value that it cannot have.
    pub fn field(field: &str, problem: impl ToString) -> Self {
        Self::Field { field: field.to_owned(), problem: problem.to_string() }
    }
}

/// Why a file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A record is longer than any event.
    #[error(
        "line {line}: the record that begins here has more than {} bytes; is a quote open?",
        crate::limits::FILE_RECORD_BYTES
    )]
    TooLong {
        /// Where it begins.
        line: u64,
    },
    /// The first row of a CSV file does not name what an event needs.
    #[error(
        "the first row does not name the columns of events: {0}; `--time COLUMN` and `--device NAME` read plain CSV"
    )]
    Header(String),
    /// The first row of a plain CSV file does not name a column that was asked for.
    #[error("there is no column {name:?}; the first row names {known}")]
    Column {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Two columns would be called the same.
    #[error("two columns are called {name:?}: COLUMN=NAME gives one of them another name")]
    Twice {
        /// What.
        name: String,
    },
    /// It is no Parquet file, or one that cannot be read.
    #[error("cannot read it as Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A Parquet file does not have the columns of events.
    #[error("the columns are not those of events: {0}")]
    Schema(String),
    /// Parquet begins with the end of the file.
    #[error("Parquet is read from a file, not from standard input")]
    Seek,
}
