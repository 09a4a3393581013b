//! Who may still take one of the process's file descriptors.

use std::sync::atomic::{AtomicBool, Ordering};

/// The process's descriptors, of which the last ones are kept for what must go on under any
/// load.
///
/// Nothing is counted: a new descriptor gets the lowest free number (POSIX, section 2.6), so its
/// number says how many others are open at least. Connections whose number is among the last ones
/// are closed at once, and what is kept for others is never in use by them.
#[derive(Debug)]
pub struct Descriptors {
    limit: u64,
    mqtt_reserve: u64,
    http_reserve: u64,
    /// So many in use are worth a warning: nine in ten, or what is left to MQTT.
    many: u64,
    has_warned: AtomicBool,
}

impl Descriptors {
    /// Of `limit` descriptors MQTT connections leave the last `mqtt_reserve` to others, and HTTP
    /// connections the last `http_reserve`.
    #[must_use]
    pub const fn new(limit: u64, mqtt_reserve: u64, http_reserve: u64) -> Self {
        let (most, left) = (limit / 10 * 9, limit.saturating_sub(mqtt_reserve));
        let many = if most < left { most } else { left };
        Self { limit, mqtt_reserve, http_reserve, many, has_warned: AtomicBool::new(false) }
    }

    /// How many connections of each of `ports` may be in their handshake, so that all of them
    /// take half of the descriptors at most.
    #[must_use]
    pub fn handshakes(&self, ports: usize) -> usize {
        let share = self.limit.saturating_sub(self.mqtt_reserve) / 2;
        usize::try_from(share).unwrap_or(usize::MAX).checked_div(ports).unwrap_or(usize::MAX).max(1)
    }

    /// Whether an MQTT connection may keep this new descriptor.
    pub fn admit_mqtt(&self, descriptor: i32) -> bool {
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
        let descriptors = Descriptors::new(100, 32, 8);
        for (descriptor, mqtt, http) in
            [(0, true, true), (67, true, true), (68, false, true), (91, false, true), (92, false, false)]
        {
            assert_eq!(descriptors.admit_mqtt(descriptor), mqtt, "{descriptor}");
            assert_eq!(descriptors.admit_http(descriptor), http, "{descriptor}");
        }
        assert_eq!((descriptors.handshakes(2), descriptors.handshakes(100)), (17, 1));
        let few = Descriptors::new(10, 32, 8);
        assert!(!few.admit_mqtt(0) && few.admit_http(1));
    }

    #[test]
    fn no_limit_admits_all() {
        let descriptors = Descriptors::new(u64::MAX, u64::MAX / 20, 16);
        assert!(descriptors.admit_mqtt(i32::MAX));
    }
}
