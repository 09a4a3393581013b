//! Values that are written as text and parsed by their type.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserializer,
    de::{self, Visitor},
};

/// A value that is written as text, and what to say of a text that is none.
pub(super) trait Text: FromStr {
    /// What would be right.
    const EXPECTED: &str;

    /// What is wrong with a text beyond not being what is expected.
    fn fault(_: &Self::Err) -> Option<String> {
        None
    }
}

/// Reads a value that is written as text.
pub(super) fn from_text<'de, D: Deserializer<'de>, T: Text>(deserializer: D) -> Result<T, D::Error> {
    struct Written<T>(PhantomData<T>);

    impl<T: Text> Visitor<'_> for Written<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|error| match T::fault(&error) {
                Some(fault) => E::custom(fault),
                None => E::invalid_value(de::Unexpected::Str(text), &self),
            })
        }
    }

    deserializer.deserialize_str(Written(PhantomData))
}
