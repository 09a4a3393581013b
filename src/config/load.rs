//! From file and environment to [`Settings`], or to every problem that was found.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{
    Settings,
    source::{KeyPath, Origin, PREFIX, Source},
};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something in the file or the environment is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong, in a sentence that says where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: Option<PathBuf>,
    origin: Option<Origin>,
    key: Option<KeyPath>,
    message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, &self.file) {
            (Some(Origin::Variable(name)), _) => write!(f, "environment variable {name}: ")?,
            (Some(Origin::Line(line)), Some(file)) => write!(f, "{}:{line}: ", file.display())?,
            (_, Some(file)) => write!(f, "{}: ", file.display())?,
            (_, None) => {}
        }
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads the settings from `file`, if there is one, and from environment `variables`. Opens
/// nothing else; `check_files` may look at the files that whole settings name, and gives back
/// what is wrong with them, each with its key.
///
/// # Errors
/// [`ConfigError`], with as many problems as one run can find.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    check_files: impl FnOnce(&Settings) -> Vec<(KeyPath, String)>,
) -> Result<Settings, ConfigError> {
    let text = match file {
        Some(file) => {
            fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?
        }
        None => String::new(),
    };
    parse(&text, file, variables, check_files)
}

/// As [`load`], from text that has been read from `file`.
pub(super) fn parse(
    text: &str,
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    check_files: impl FnOnce(&Settings) -> Vec<(KeyPath, String)>,
) -> Result<Settings, ConfigError> {
    let problem = |origin: Option<Origin>, key: Option<KeyPath>, message| Problem {
        file: file.map(Path::to_owned),
        origin,
        key,
        message,
    };
    let mut source = Source::read(text).map_err(|errors| {
        ConfigError::Invalid(errors.into_iter().map(|(origin, message)| problem(Some(origin), None, message)).collect())
    })?;

    let (variables, unreadable) = readable(variables);
    let mut problems: Vec<_> = unreadable
        .into_iter()
        .map(|name| problem(Some(Origin::Variable(name)), None, "the value must be UTF-8".to_owned()))
        .collect();
    for (origin, key, message) in source.overlay(&variables) {
        problems.push(problem(Some(origin), Some(key), message));
    }

    // Deserialising stops at the first problem; what caused it is taken out and the rest tried again.
    let settings: Settings = loop {
        let error = match serde_path_to_error::deserialize(source.values()) {
            Ok(settings) => break settings,
            Err(error) => error,
        };
        let key = KeyPath::from(error.path());
        if source.reread(&key) {
            continue;
        }
        let message = error.inner().message();
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let taken_out = |problem: &Problem| problem.key.is_some() && problem.key == missing.map(|name| key.key(name));
        if !problems.iter().any(taken_out) {
            problems.push(problem(source.origin(&key).cloned(), Some(key.clone()), explain(message)));
        }
        if !source.remove(&key) {
            break Settings::default();
        }
    };

    // Only whole settings are worth comparing with each other.
    let place = |(key, message)| problem(source.origin(&key).cloned(), Some(key), message);
    if problems.is_empty() {
        problems.extend(settings.check().into_iter().map(place));
    }
    if problems.is_empty() {
        problems.extend(check_files(&settings).into_iter().map(place));
    }
    if problems.is_empty() {
        return Ok(settings);
    }
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    Err(ConfigError::Invalid(problems))
}

/// The variables as text, and the names of those of ours that are none.
fn readable(variables: impl IntoIterator<Item = (OsString, OsString)>) -> (Vec<(String, String)>, Vec<String>) {
    let mut texts = Vec::new();
    let mut unreadable = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => texts.push((name, value)),
            Err(_) if name.starts_with(PREFIX) => unreadable.push(name),
            Err(_) => {}
        }
    }
    (texts, unreadable)
}

/// serde's message in this product's words, with the nearest of the names that serde lists.
fn explain(message: &str) -> String {
    let mut text = message.replacen("unknown field", "unknown key", 1).replacen("unknown variant", "unknown value", 1);
    if text != message {
        let mut quoted = message.split('`').skip(1).step_by(2);
        let found = quoted.next().unwrap_or_default();
        let nearness = |name: &str| strsim::jaro(found, name);
        let nearest = quoted.max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
        if let Some(name) = nearest.filter(|name| nearness(name) > 0.7) {
            text.push_str(&format!("; did you mean `{name}`?"));
        }
    }
    text.replacen("missing field", "missing key", 1)
}
