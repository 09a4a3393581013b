//! Counts what is read, for those who watch, and so that one record cannot take all memory.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::limits;

/// How much of a file was read. Clones are one meter.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    /// Where the record at hand began, give or take a buffer.
    record: AtomicU64,
}

impl Meter {
    /// Bytes read so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Says how many bytes were read, where they are not counted one by one.
    pub fn set(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn begin_record(&self) {
        self.0.record.store(self.bytes(), Ordering::Relaxed);
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.bytes() - self.0.record.load(Ordering::Relaxed) > limits::FILE_RECORD_BYTES as u64
    }
}

/// A reader that counts, and ends with an error within a record that is too long.
pub struct Metered<R> {
    inner: R,
    meter: Meter,
}

impl<R> Metered<R> {
    pub fn new(inner: R, meter: &Meter) -> Self {
        Self { inner, meter: meter.clone() }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.is_too_long() {
            return Err(io::Error::other("a record is too long"));
        }
        let read = self.inner.read(buffer)?;
        self.meter.0.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
