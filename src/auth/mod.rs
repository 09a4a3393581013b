//! Who a client is: accounts, passwords, and the exchanges that prove them.
//!
//! [`PasswordFile`] is what an operator edits; [`Accounts`] is what was read of it, complete and in
//! memory. An [`Authenticator`] answers for one such file: whether a password is right, and the
//! server's side of SCRAM-SHA-256 ([`Exchange`]); it hears nobody who fails too often. An [`Admission`] says what a port asks of clients,
//! a [`CertificatePolicy`] what it makes of their certificates. [`Tokens`] takes signed tokens in the place of passwords.
//!
//! [`access`] is who may do what. [`web`] is the same for clients of the HTTP server.
//!
//! No task owns anything here: connections call in, and what takes long runs on blocking threads,
//! a bounded number at a time.
//!
//! Invariants: a password is never kept, nor anything that lets one log in elsewhere (only
//! StoredKey and ServerKey are, see RFC 5802 section 2.2); nothing here prints either; a name that
//! is not known takes the time and shows the salt that a known one would.
//!
//! Failure: a file with a fault is refused whole, with the fault's line; nobody is let in by it.

pub mod access;
mod accounts;
mod admission;
mod attempts;
mod authenticator;
mod certificate;
mod derivation;
mod password_file;
mod prepare;
mod private_file;
mod scram;
mod service;
#[cfg(test)]
mod tests;
mod token;
mod verifier;
pub mod web;

pub use accounts::{Accounts, User};
pub use admission::Admission;
pub use attempts::AttemptLimits;
pub use authenticator::{Authenticator, PasswordError};
pub use certificate::{Certificate, CertificateError, CertificatePolicy, NamedBy};
pub use password_file::{LineError, NameError, PasswordFile, PasswordFileError};
pub use prepare::is_same_name;
pub use scram::{Exchange, METHOD, Proven, ScramError};
pub use service::Service;
pub use token::{KeyAddress, KeyFileError, Keys, Rights, Token, TokenError, TokenPolicy, Tokens, is_token, read_keys};
pub use verifier::{Verifier, VerifierError};
