//! One file of the log: a header, then records, then perhaps unwritten space.
//!
//! - Every record in it has a sequence of at least the header's base, and less than the base of
//!   the next segment. Within a segment they are dense.
//! - Only the newest segment is written. It is sealed (cut to its length and synced) before
//!   the next is made, so unwritten space in an older one is its end as well.
//! - The header is synced, and the directory too, before the first record is written.
//! - There is no index. A seek is a binary search over bytes: from any offset, the next header
//!   is found by its salted checksum.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    batch::{Batch, scan},
    record::{self, HEADER_BYTES, Header, Record, RecordError},
    segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader},
    storage::SegmentFile,
};
use crate::types::Sequence;

/// Distance at which a seek is close enough: what is then read in vain at most.
const SEEK_BYTES: u64 = 64 << 10;

/// What one probe of a seek reads.
const PROBE_BYTES: usize = 8 << 10;

/// What one read from disk asks for.
const READ_BYTES: usize = 256 << 10;

/// A segment open for reading, and, if it is the newest, for writing by the committer.
pub struct Segment {
    /// What its first bytes say.
    pub header: SegmentHeader,
    file: Arc<dyn SegmentFile>,
    length: AtomicU64,
}

/// Records that are lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} is damaged at byte {offset}: records after {after} and before {before} are lost")]
pub struct Damage {
    /// The file's name.
    pub segment: String,
    /// Where the first unreadable or missing record starts.
    pub offset: u64,
    /// The last readable record before it.
    pub after: Sequence,
    /// The first readable record behind it; where none follows, the next segment's base.
    pub before: Sequence,
}

/// Where a scan stopped.
pub struct Scanned {
    /// The offset behind the last whole record.
    pub end: u64,
    /// Why it stopped there, if that is not the end of the file.
    pub stop: Option<RecordError>,
}

/// What a read from a segment found.
pub enum SegmentRead {
    /// Whole records, and the offset behind them.
    Records(Batch, u64),
    /// No record at this offset: the segment ends here.
    End,
    /// Bytes that are no record; reading goes on at the offset, where there is one.
    Damaged {
        /// Where the damage starts.
        offset: u64,
        /// The next whole record in this segment.
        resume: Option<(u64, Sequence)>,
    },
}

impl Segment {
    /// Writes the header of a new segment and syncs it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn create(header: SegmentHeader, file: Arc<dyn SegmentFile>) -> io::Result<Self> {
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        Ok(Self { header, file, length: AtomicU64::new(SEGMENT_HEADER_BYTES) })
    }

    /// Opens a segment found on disk; none when it has no valid header.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open(file: Arc<dyn SegmentFile>) -> io::Result<Option<Self>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        file.read_at(&mut bytes, 0)?;
        let length = AtomicU64::new(file.length()?);
        Ok(SegmentHeader::decode(&bytes).map(|header| Self { header, file, length }))
    }

    /// Bytes of header and records.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Appends whole records. Committer only.
    ///
    /// # Errors
    /// As the file system says; the segment then ends where it ended before.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let offset = self.length();
        self.file.write_at(bytes, offset)?;
        self.length.store(offset + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// As the file system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Cuts unwritten or torn bytes off and syncs: nothing is appended any more.
    ///
    /// # Errors
    /// As the file system says.
    pub fn seal(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)?;
        self.file.sync()?;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    /// Writes the bytes from `offset` on once more and syncs. After a failed sync, bytes may be
    /// in the page cache and not on disk although a second sync succeeds.
    ///
    /// # Errors
    /// As the file system says.
    pub fn rewrite(&self, mut offset: u64) -> io::Result<()> {
        while offset < self.length() {
            let bytes = self.bytes_at(offset, READ_BYTES)?;
            self.file.write_at(&bytes, offset)?;
            offset += bytes.len() as u64;
        }
        self.file.sync()
    }

    /// The offset of a record with `is_before`, where there is one, close to the first record
    /// without it. All with it come before all without.
    ///
    /// # Errors
    /// As the file system says.
    pub fn seek(&self, is_before: impl Fn(&Header) -> bool) -> io::Result<(u64, Option<Header>)> {
        let (mut found, mut end) = ((SEGMENT_HEADER_BYTES, None), self.length());
        while end.saturating_sub(found.0) > SEEK_BYTES {
            let middle = found.0 + (end - found.0) / 2;
            match self.find_header(middle)? {
                Some((offset, header)) if offset < end && is_before(&header) => found = (offset, Some(header)),
                _ => end = middle,
            }
        }
        Ok(found)
    }

    /// Reads whole records from `offset` on: those with a sequence above `after` and at most
    /// `limit`, about a quarter of a MiB of them.
    ///
    /// # Errors
    /// As the file system says.
    pub fn read(&self, mut offset: u64, after: Sequence, limit: Sequence) -> io::Result<SegmentRead> {
        let mut want = READ_BYTES;
        loop {
            let mut bytes = self.bytes_at(offset, want)?;
            let (mut offsets, mut first) = (Vec::new(), None);
            let (mut last, mut beyond) = (after, false);
            let (end, stop) = scan(&bytes, self.header.salt, |at, header, _| {
                beyond = header.sequence > limit;
                if !beyond && header.sequence > last && !header.is_mark() {
                    first.get_or_insert(*header);
                    last = header.sequence;
                    offsets.push(at as u32);
                }
                !beyond
            });
            if let Some(first) = first {
                bytes.truncate(end);
                return Ok(SegmentRead::Records(Batch::from_disk(bytes, offsets, first, last), offset + end as u64));
            }
            if beyond {
                return Ok(SegmentRead::End);
            }
            offset += end as u64;
            let at_end = offset + (bytes.len() - end) as u64 >= self.length();
            match stop {
                None if at_end => return Ok(SegmentRead::End),
                None => {}
                Some(RecordError::Short) if !at_end => want = needed(bytes.get(end..).unwrap_or_default(), want),
                Some(RecordError::Unwritten) if self.written_behind(offset)? == 0 => return Ok(SegmentRead::End),
                Some(_) => return Ok(SegmentRead::Damaged { offset, resume: self.resume_behind(offset, last)? }),
            }
        }
    }

    /// The nearest records with a sequence below `before`, in order: up to some 64 KiB of them.
    /// None when the segment has none; true when some are lost.
    ///
    /// # Errors
    /// As the file system says.
    pub fn read_before(&self, mut before: Sequence) -> io::Result<(Vec<Batch>, bool)> {
        let mut damaged = false;
        loop {
            let (offset, start) = self.seek(|header| header.record_sequence() < before)?;
            let batches = self.read_stretch(offset, before.previous(), &mut damaged)?;
            match start {
                Some(start) if batches.is_empty() => before = start.record_sequence(),
                _ => return Ok((batches, damaged)),
            }
        }
    }

    /// All records from `offset` to `limit`.
    fn read_stretch(&self, mut offset: u64, limit: Sequence, damaged: &mut bool) -> io::Result<Vec<Batch>> {
        let (mut batches, mut after) = (Vec::new(), Sequence::ZERO);
        loop {
            match self.read(offset, after, limit)? {
                SegmentRead::Records(batch, end) => {
                    (offset, after) = (end, batch.last());
                    batches.push(batch);
                }
                SegmentRead::End => return Ok(batches),
                SegmentRead::Damaged { resume, .. } => {
                    *damaged = true;
                    match resume {
                        Some((at, sequence)) if sequence <= limit => (offset, after) = (at, sequence.previous()),
                        _ => return Ok(batches),
                    }
                }
            }
        }
    }

    /// The next whole record behind damage, with a sequence above `after`; for a mark, that of
    /// the record behind it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn resume_behind(&self, damaged: u64, after: Sequence) -> io::Result<Option<(u64, Sequence)>> {
        let mut offset = damaged + 1;
        while let Some((at, header)) = self.find_header(offset)? {
            let sequence = header.record_sequence();
            if sequence > after
                && record::decode(&self.bytes_at(at, header.record_bytes())?, Some(self.header.salt)).is_ok()
            {
                return Ok(Some((at, sequence)));
            }
            offset = at + 1;
        }
        Ok(None)
    }

    /// Visits every record from `offset` on, as long as they are whole and sequences rise above
    /// `last`, which is moved along; a mark repeats the sequence before it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn scan(
        &self,
        mut offset: u64,
        last: &mut Sequence,
        mut visit: impl FnMut(&Header, &Record<'_>),
    ) -> io::Result<Scanned> {
        let mut want = READ_BYTES;
        loop {
            let bytes = self.bytes_at(offset, want)?;
            let mut fell_back = false;
            let (end, stop) = scan(&bytes, self.header.salt, |_, header, record| {
                fell_back = if header.is_mark() { header.sequence < *last } else { header.sequence <= *last };
                if !fell_back {
                    *last = header.sequence;
                    visit(header, record);
                }
                !fell_back
            });
            offset += end as u64;
            let at_end = offset + (bytes.len() - end) as u64 >= self.length();
            match stop {
                _ if fell_back => return Ok(Scanned { end: offset, stop: Some(RecordError::Damaged) }),
                None if at_end => return Ok(Scanned { end: offset, stop: None }),
                None => {}
                Some(RecordError::Short) if !at_end => want = needed(bytes.get(end..).unwrap_or_default(), want),
                Some(error) => return Ok(Scanned { end: offset, stop: Some(error) }),
            }
        }
    }

    /// Bytes from `offset` to the last one that is not zero.
    ///
    /// # Errors
    /// As the file system says.
    pub fn written_behind(&self, offset: u64) -> io::Result<u64> {
        let (mut at, mut written) = (offset, 0);
        while at < self.length() {
            let bytes = self.bytes_at(at, READ_BYTES)?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                written = at + last as u64 + 1 - offset;
            }
            at += bytes.len() as u64;
        }
        Ok(written)
    }

    /// The first valid header at or behind `offset`, whatever lies before it.
    fn find_header(&self, mut offset: u64) -> io::Result<Option<(u64, Header)>> {
        while offset + HEADER_BYTES as u64 <= self.length() {
            let bytes = self.bytes_at(offset, PROBE_BYTES)?;
            if let Some((at, header)) = record::find_header(&bytes, self.header.salt) {
                return Ok(Some((offset + at as u64, header)));
            }
            offset += (bytes.len() - HEADER_BYTES + 1) as u64;
        }
        Ok(None)
    }

    /// As many bytes as wanted, or as there are.
    fn bytes_at(&self, offset: u64, want: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; want.min(left)];
        if self.file.read_at(&mut bytes, offset)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

/// What to read so that the record at the start of `bytes` is whole.
fn needed(bytes: &[u8], want: usize) -> usize {
    Header::decode(bytes, None).map_or(want, |header| header.record_bytes()).max(want)
}
