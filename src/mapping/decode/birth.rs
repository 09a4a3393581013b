//! What a Sparkplug birth certificate says of the metrics that later messages name by alias.

use std::collections::HashMap;

use super::{
    DecodeError,
    protobuf::{Fields, write_bytes, write_varint},
    sparkplug::Heading,
};

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

    /// A payload that says the same and nothing else.
    pub fn to_payload(&self) -> Vec<u8> {
        let aliased = self.by_alias.iter().map(|(alias, (name, datatype))| (name, Some(*alias), *datatype));
        let others = self.types.iter().map(|(name, datatype)| (name, None, Some(*datatype)));
        let mut out = Vec::new();
        for (name, alias, datatype) in aliased.chain(others) {
            let mut metric = Vec::new();
            write_bytes(&mut metric, 1, name.as_bytes());
            alias.into_iter().for_each(|alias| write_varint(&mut metric, 2, alias));
            datatype.into_iter().for_each(|datatype| write_varint(&mut metric, 4, datatype));
            write_bytes(&mut out, 2, &metric);
        }
        out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_comes_back_from_its_payload() {
        let birth = Birth {
            by_alias: HashMap::from([(u64::MAX, ("level".into(), Some(1))), (0, ("x".repeat(300).into(), None))]),
            types: HashMap::from([("flow".into(), 3)]),
        };
        assert_eq!(Birth::read(&birth.to_payload()), Ok(birth));
        assert!(Birth::default().to_payload().is_empty());
    }
}
