//! Who a web client is, and what it may do.
//!
//! [`Identities`] makes a [`Caller`] of what a request shows: an API key ([`ApiKeys`]), a signed token, a session or a
//! token that a service of others knows ([`Remote`]), a ticket that a caller got before, or nothing. A caller has its [`Grants`](crate::types::Grants), and says when it is over: when it expires, and
//! when it is revoked.
//!
//! No task owns anything here; whoever keeps something open for a caller waits for [`Caller::end`] beside it.
//!
//! Invariants: a failure never makes a caller; what a ticket is worth ends with the caller that asked for it; secrets are
//! kept as hashes and are in no message.

mod caller;
mod identities;
mod keys;
mod rates;
mod remote;
mod tickets;

pub use caller::{Caller, Who};
pub use identities::{Credentials, Identities, IdentityGrants, Refused};
pub use keys::{ApiKey, ApiKeyError, ApiKeyFile, ApiKeys};
pub use rates::{Rates, Turn};
pub use remote::{Kind, Remote, basic};
pub use tickets::Ticket;
