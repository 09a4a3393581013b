//! How many file descriptors the process may have, and who leaves how many to whom.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{limits, types::Descriptors};

/// Raises the soft limit to the hard one: it is low by default for the sake of programs that use
/// select(2), and this is none.
pub fn raise() -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, soft = current, hard = maximum, "cannot raise the limit of file descriptors");
            current
        }
    };
    tracing::info!(limit, before = current, "file descriptors");
    // No limit at all is as good as a very high one.
    let limit = limit.unwrap_or(u64::MAX);
    let reserve = limits::DESCRIPTOR_RESERVE.max(limit / limits::DESCRIPTOR_RESERVE_DIVISOR);
    let known = limits::DESCRIPTOR_KNOWN.max(limit / limits::DESCRIPTOR_KNOWN_DIVISOR);
    Descriptors::new(limit, known, reserve, limits::DESCRIPTOR_CORE_RESERVE)
}
