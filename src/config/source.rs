//! What the file and the environment say, and where they say it.
//!
//! Values are merged into one TOML table; beside it stands the origin of each key, so that a
//! problem can be told with its line or its variable. The environment wins over the file.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, de::IntoDeserializer};
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// Prefix of the variables that override keys. Two underscores: one would take in the variables
/// `SYNAP_MQTT_SERVICE_HOST` and so on that Kubernetes makes for a service named `synap-mqtt`.
pub(super) const PREFIX: &str = "SYNAP_MQTT__";

/// Variables that other programs share, and the keys that they stand for. A variable with
/// [`PREFIX`] wins over them.
const SHARED: &[(&str, &[&str])] = &[("DATABASE_URL", &["timescale", "url"]), ("RUST_LOG", &["log", "filter"])];

/// The way to a key: `listener[0].bind`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    /// The path to `key` in the table at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The path to an element of the array at this path.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, parent)| Self(parent.to_vec()))
    }

    /// The key that a variable name stands for, if it has the prefix.
    fn of_variable(name: &str) -> Option<Self> {
        let steps = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
        let step = |text: &str| text.parse().map_or_else(|_| Step::Key(text.to_owned()), Step::Index);
        Some(Self(steps.split("__").map(step).collect()))
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let step = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Self(path.iter().filter_map(step).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Where a value is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// The merged values and their origins.
#[derive(Debug)]
pub(super) struct Source {
    root: Value,
    origins: BTreeMap<KeyPath, Origin>,
}

impl Source {
    /// Reads TOML text; on failure every place where it is not TOML.
    pub(super) fn read(text: &str) -> Result<Self, Vec<(Origin, String)>> {
        let line = |offset: usize| Origin::Line(1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count());
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut errors: Vec<_> = errors
            .iter()
            .map(|error| (line(error.span().map_or(0, |span| span.start)), error.message().to_owned()))
            .collect();
        let mut origins = BTreeMap::new();
        let root = place(
            Spanned::new(table.span(), DeValue::Table(table.into_inner())),
            &KeyPath::default(),
            &mut |path, offset| {
                origins.insert(path.clone(), line(offset));
            },
        );
        match root {
            Ok(root) if errors.is_empty() => return Ok(Self { root, origins }),
            Ok(_) => {}
            Err((offset, message)) => errors.push((line(offset), message)),
        }
        Err(errors)
    }

    /// Lets the environment override keys; gives back the variables that cannot be placed.
    pub(super) fn overlay(&mut self, variables: &[(String, String)]) -> Vec<(Origin, KeyPath, String)> {
        for (name, keys) in SHARED {
            let text = variables.iter().find(|(variable, text)| variable == name && !text.is_empty());
            if let Some((name, text)) = text {
                let path = keys.iter().fold(KeyPath::default(), |path, key| path.key(key));
                // A path of keys only can always be placed.
                let _ = self.set(&path, name, text);
            }
        }
        let mut own: Vec<_> =
            variables.iter().filter_map(|(name, text)| Some((KeyPath::of_variable(name)?, name, text))).collect();
        own.sort();
        own.into_iter()
            .filter_map(|(path, name, text)| {
                let problem = self.set(&path, name, text).err()?;
                Some((Origin::Variable(name.clone()), path, problem))
            })
            .collect()
    }

    /// Writes a variable's text, making the tables and array elements on the way.
    fn set(&mut self, path: &KeyPath, name: &str, text: &str) -> Result<(), String> {
        let mut value = &mut self.root;
        let mut here = KeyPath::default();
        for step in &path.0 {
            here = here.step(step.clone());
            match step {
                Step::Key(key) => {
                    if !value.is_table() {
                        *value = Value::Table(Table::new());
                    }
                    let Value::Table(table) = value else { return Ok(()) };
                    value = table.entry(key).or_insert(Value::Table(Table::new()));
                }
                Step::Index(index) => {
                    if !value.is_array() {
                        *value = Value::Array(Vec::new());
                    }
                    let Value::Array(array) = value else { return Ok(()) };
                    if *index == array.len() {
                        array.push(Value::Table(Table::new()));
                    }
                    let next = array.len();
                    value = array
                        .get_mut(*index)
                        .ok_or_else(|| format!("elements are numbered without gaps; the next is {next}"))?;
                }
            }
            self.origins.entry(here.clone()).or_insert_with(|| Origin::Variable(name.to_owned()));
        }
        *value = Value::String(text.to_owned());
        self.origins.insert(here, Origin::Variable(name.to_owned()));
        Ok(())
    }

    /// The values, to be deserialised.
    pub(super) fn values(&self) -> Value {
        self.root.clone()
    }

    /// Where the key is written, or the nearest table around it.
    pub(super) fn origin(&self, path: &KeyPath) -> Option<&Origin> {
        self.origins.get(path).or_else(|| self.origin(&path.parent()?))
    }

    /// Reads a variable's text as TOML, for keys that are no text: `5`, `true`, `[1, 2]`. False
    /// when the value at `path` is no such text.
    pub(super) fn reread(&mut self, path: &KeyPath) -> bool {
        if !matches!(self.origin(path), Some(Origin::Variable(_))) {
            return false;
        }
        let Some(value) = self.at(path) else { return false };
        match value.as_str().map(str::parse::<Value>) {
            Some(Ok(read)) if !read.is_str() => {
                *value = read;
                true
            }
            _ => false,
        }
    }

    /// Takes the key out so that the others can be checked. An array goes as a whole, because
    /// paths into it must keep their meaning. False when there is nothing at `path`.
    pub(super) fn remove(&mut self, path: &KeyPath) -> bool {
        let mut path = path.clone();
        while let Some(Step::Index(_)) = path.0.last() {
            path.0.pop();
        }
        let Some((Step::Key(key), parent)) = path.0.split_last() else { return false };
        let parent = KeyPath(parent.to_vec());
        self.at(&parent).and_then(Value::as_table_mut).is_some_and(|table| table.remove(key).is_some())
    }

    fn at(&mut self, path: &KeyPath) -> Option<&mut Value> {
        path.0.iter().try_fold(&mut self.root, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(*index),
        })
    }
}

/// A parsed value without its spans, after `note` has seen the offset of everything in it.
fn place(
    value: Spanned<DeValue<'_>>,
    path: &KeyPath,
    note: &mut impl FnMut(&KeyPath, usize),
) -> Result<Value, (usize, String)> {
    let offset = value.span().start;
    match value.into_inner() {
        DeValue::Table(table) => table
            .into_iter()
            .map(|(key, value)| {
                let path = path.key(key.get_ref());
                note(&path, key.span().start);
                Ok((key.into_inner().into_owned(), place(value, &path, note)?))
            })
            .collect::<Result<Table, _>>()
            .map(Value::Table),
        DeValue::Array(array) => array
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let path = path.index(index);
                note(&path, value.span().start);
                place(value, &path, note)
            })
            .collect::<Result<_, _>>()
            .map(Value::Array),
        leaf => Value::deserialize(Spanned::new(0..0, leaf).into_deserializer())
            .map_err(|error| (offset, format!("`{path}`: {}", error.message()))),
    }
}
