//! Who may still take one of the process's file descriptors.

use std::sync::atomic::{AtomicBool, Ordering};

/// The process's descriptors, of which the last ones are kept for what must go on under any
/// load.
///
/// Nothing is counted: a new descriptor gets the lowest free number (POSIX, section 2.6), so its
/// number says how many others are open at least. Connections whose number is among the last ones
/// are closed at once, and what is kept for others is never in use by them. Strangers end first, then clients that
/// are known, then HTTP.
#[derive(Debug)]
pub struct Descriptors {
    limit: u64,
    stranger_reserve: u64,
    mqtt_reserve: u64,
    http_reserve: u64,
    /// So many in use are worth a warning: nine in ten, or what is left to MQTT.
    many: u64,
    has_warned: AtomicBool,
}

impl Descriptors {
    /// Of `limit` descriptors MQTT connections leave the last `mqtt_reserve` to others, strangers among
    /// them `for_known` more, and HTTP connections the last `http_reserve`.
    #[must_use]
    pub const fn new(limit: u64, for_known: u64, mqtt_reserve: u64, http_reserve: u64) -> Self {
        let stranger_reserve = mqtt_reserve.saturating_add(for_known);
        let (most, left) = (limit / 10 * 9, limit.saturating_sub(stranger_reserve));
        let many = if most < left { most } else { left };
        Self { limit, stranger_reserve, mqtt_reserve, http_reserve, many, has_warned: AtomicBool::new(false) }
    }

    /// How many connections of each of `ports` may be in their handshake, so that all of them
    /// take half of the descriptors at most.
    #[must_use]
    pub fn handshakes(&self, ports: usize) -> usize {
        let share = self.limit.saturating_sub(self.stranger_reserve) / 2;
        usize::try_from(share).unwrap_or(usize::MAX).checked_div(ports).unwrap_or(usize::MAX).max(1)
    }

    /// The `divisor`th part of all, and at least one.
    #[must_use]
    pub fn share(&self, divisor: u64) -> usize {
        usize::try_from(self.limit / divisor.max(1)).unwrap_or(usize::MAX).max(1)
    }

    /// Whether an MQTT connection may keep this new descriptor, of whomever it is.
    pub fn admit_stranger(&self, descriptor: i32) -> bool {
        self.admit(descriptor, self.stranger_reserve)
    }

    /// Whether an MQTT connection may keep this new descriptor that comes from where clients are known.
    pub fn admit_known(&self, descriptor: i32) -> bool {
        self.admit(descriptor, self.mqtt_reserve)
    }

    /// Whether an HTTP connection may keep this new descriptor.
    pub fn admit_http(&self, descriptor: i32) -> bool {
        self.admit(descriptor, self.http_reserve)
    }

    fn admit(&self, descriptor: i32, reserve: u64) -> bool {
        let in_use = u64::try_from(descriptor).unwrap_or(0).saturating_add(1);
        if in_use >= self.many && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                in_use,
                limit = self.limit,
                "nearly all file descriptors are in use: raise the limit (LimitNOFILE=, ulimit -n), or clients are \
                 turned away"
            );
        }
        in_use <= self.limit.saturating_sub(reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        let descriptors = Descriptors::new(100, 12, 32, 8);
        for (descriptor, admitted) in [(0, 3), (55, 3), (56, 2), (67, 2), (68, 1), (91, 1), (92, 0)] {
            assert_eq!(descriptors.admit_stranger(descriptor), admitted > 2, "{descriptor}");
            assert_eq!(descriptors.admit_known(descriptor), admitted > 1, "{descriptor}");
            assert_eq!(descriptors.admit_http(descriptor), admitted > 0, "{descriptor}");
        }
        assert_eq!((descriptors.share(2), descriptors.share(200)), (50, 1));
        assert_eq!((descriptors.handshakes(2), descriptors.handshakes(100)), (14, 1));
        let few = Descriptors::new(10, 4, 32, 8);
        assert!(!few.admit_known(0) && few.admit_http(1));
    }

    #[test]
    fn no_limit_admits_all() {
        let descriptors = Descriptors::new(u64::MAX, u64::MAX / 20, u64::MAX / 20, 16);
        assert!(descriptors.admit_stranger(i32::MAX));
    }
}
