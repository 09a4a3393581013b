//! Which clients are devices, and what their names are.

use std::{fmt, str::FromStr};

/// Stands for any text.
const ANY: &str = "*";
/// Stands for any text but none: the device's name.
const DEVICE: &str = "{device}";

/// A client identifier, or a pattern of them with one place left open: `pump-*`, `sensor-{device}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPattern {
    /// In front of the open place.
    before: Box<str>,
    open: Open,
    /// Behind it.
    after: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Any,
    Device,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientPatternError {
    /// It fits no client.
    #[error("a client identifier is not empty")]
    Empty,
    /// More than one open place.
    #[error("* or {{device}} may stand once in it, one of the two")]
    Open,
    /// No client identifier has it.
    #[error("a client identifier has no U+0000")]
    Nul,
}

impl ClientPattern {
    /// The device that a client is, if the pattern fits: what stands for `{device}`, else the whole identifier.
    #[must_use]
    pub fn device<'a>(&self, client_id: &'a str) -> Option<&'a str> {
        if self.open == Open::Nothing {
            return (client_id == &*self.before).then_some(client_id);
        }
        let open = client_id.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        match self.open {
            Open::Device => Some(open).filter(|name| !name.is_empty()),
            Open::Any | Open::Nothing => Some(client_id),
        }
    }
}

impl FromStr for ClientPattern {
    type Err = ClientPatternError;

    fn from_str(text: &str) -> Result<Self, ClientPatternError> {
        if text.is_empty() {
            return Err(ClientPatternError::Empty);
        }
        if text.contains('\0') {
            return Err(ClientPatternError::Nul);
        }
        let (before, open, after) = match (text.split_once(ANY), text.split_once(DEVICE)) {
            (None, None) => (text, Open::Nothing, ""),
            (Some((before, after)), None) => (before, Open::Any, after),
            (None, Some((before, after))) => (before, Open::Device, after),
            (Some(_), Some(_)) => return Err(ClientPatternError::Open),
        };
        if after.contains(ANY) || after.contains(DEVICE) {
            return Err(ClientPatternError::Open);
        }
        Ok(Self { before: before.into(), open, after: after.into() })
    }
}

impl fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = match self.open {
            Open::Nothing => "",
            Open::Any => ANY,
            Open::Device => DEVICE,
        };
        write!(f, "{}{open}{}", self.before, self.after)
    }
}

/// The clients that are devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClients {
    /// Those that one of these fits; the first that does gives the name.
    pub devices: Vec<ClientPattern>,
    /// But not those that one of these fits.
    pub except: Vec<ClientPattern>,
}

impl DeviceClients {
    /// The device that a client is, if it is one.
    #[must_use]
    pub fn device<'a>(&self, client_id: &'a str) -> Option<&'a str> {
        let device = self.devices.iter().find_map(|pattern| pattern.device(client_id))?;
        let is_excepted = self.except.iter().any(|pattern| pattern.device(client_id).is_some());
        (!is_excepted).then_some(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device<'a>(pattern: &str, client_id: &'a str) -> Option<&'a str> {
        pattern.parse::<ClientPattern>().unwrap().device(client_id)
    }

    #[test]
    fn patterns_name_devices() {
        for (pattern, client_id, expected) in [
            ("*", "pump-7", Some("pump-7")),
            ("pump-*", "pump-7", Some("pump-7")),
            ("pump-*", "pump-", Some("pump-")),
            ("pump-*", "valve-7", None),
            ("sensor-{device}", "sensor-7", Some("7")),
            ("sensor-{device}", "sensor-", None),
            ("{device}-mqtt", "pump-7-mqtt", Some("pump-7")),
            ("aa*aa", "aaa", None),
            ("aa*aa", "aaaa", Some("aaaa")),
            ("pump-7", "pump-7", Some("pump-7")),
            ("pump-7", "pump-77", None),
            ("é*", "ée", Some("ée")),
        ] {
            assert_eq!(device(pattern, client_id), expected, "{pattern} and {client_id}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_named_and_what_is_one_comes_back() {
        for (text, expected) in [
            ("", ClientPatternError::Empty),
            ("a*b*", ClientPatternError::Open),
            ("{device}*", ClientPatternError::Open),
            ("{device}{device}", ClientPatternError::Open),
            ("a\0", ClientPatternError::Nul),
        ] {
            assert_eq!(text.parse::<ClientPattern>(), Err(expected), "{text:?}");
        }
        for text in ["*", "pump-*", "a{device}b", "pump", "{other}"] {
            assert_eq!(text.parse::<ClientPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_first_pattern_names_the_device_and_exceptions_win() {
        let pattern = |text: &&str| text.parse().unwrap();
        let clients = DeviceClients {
            devices: ["sensor-{device}", "*"].iter().map(pattern).collect(),
            except: ["sensor-test*"].iter().map(pattern).collect(),
        };
        assert_eq!(clients.device("sensor-7"), Some("7"));
        assert_eq!(clients.device("pump"), Some("pump"));
        assert_eq!(clients.device("sensor-test-1"), None);
        assert_eq!(DeviceClients::default().device("pump"), None);
    }
}
