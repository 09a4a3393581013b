//! SASLprep (RFC 4013): the one form of the ways in which a name or a password can be typed.

use std::borrow::Cow;

/// The bytes that stand for a password. Where SASLprep has none, for bytes that are no text and for
/// characters that Unicode 3.2 did not have, they are the password's own, as PostgreSQL does it.
pub(super) fn password(password: &[u8]) -> Cow<'_, [u8]> {
    let prepared = str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    match prepared {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(password),
    }
}

/// The form in which a name is known; none where it cannot be one.
pub(super) fn name(name: &str) -> Option<Cow<'_, str>> {
    stringprep::saslprep(name).ok().filter(|name| !name.is_empty())
}

/// Whether a name, as it was typed, is that of an account.
#[must_use]
pub fn is_same_name(typed: &str, user: &str) -> bool {
    name(typed).is_some_and(|name| name == user)
}
