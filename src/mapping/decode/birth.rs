//! What a Sparkplug birth certificate says of the metrics that later messages name by alias.

use std::collections::HashMap;

use super::{DecodeError, protobuf::Fields, sparkplug::Heading};

/// Names and types of one node's, or one device's, metrics.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Birth {
    by_alias: HashMap<u64, (Box<str>, Option<u64>)>,
    types: HashMap<Box<str>, u64>,
}

impl Birth {
    /// Reads it from the payload of an NBIRTH or DBIRTH.
    pub fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut birth = Self::default();
        for metric in Fields(payload).of(2) {
            let heading = Heading::read(metric?.bytes()?)?;
            let Some(name) = heading.name else { continue };
            if let Some(alias) = heading.alias {
                birth.by_alias.insert(alias, (name.into(), heading.datatype));
            } else if let Some(datatype) = heading.datatype {
                birth.types.insert(name.into(), datatype);
            }
        }
        Ok(birth)
    }

    /// How many metrics it names.
    pub fn len(&self) -> usize {
        self.by_alias.len() + self.types.len()
    }

    /// A metric's heading with what the message left out.
    pub fn complete<'a>(&'a self, mut heading: Heading<'a>) -> Heading<'a> {
        if let Some((name, datatype)) = heading.alias.and_then(|alias| self.by_alias.get(&alias)) {
            heading.name = heading.name.filter(|name| !name.is_empty()).or(Some(name));
            heading.datatype = heading.datatype.or(*datatype);
        }
        let known = || self.types.get(heading.name?).copied();
        heading.datatype = heading.datatype.or_else(known);
        heading
    }
}
