//! One file of the log: a header, then records, then perhaps unwritten space.
//!
//! - Named `<base>.journal`, base in 20 digits, so that names sort like sequences. Every record
//!   in it has a sequence of at least base, and less than the base of the next segment.
//! - Only the newest segment is written. It is sealed (cut to its length and synced) before
//!   the next is made, so unwritten space in an older one is its end as well.
//! - The header is synced, and the directory too, before the first record is written.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    batch::{Batch, scan},
    record::{HEADER_BYTES, Header, Record, RecordError},
    storage::SegmentFile,
};
use crate::types::{Micros, Sequence};

/// Length of a segment's header.
pub const SEGMENT_HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"SYNAPJ01";

/// Distance of index entries: what a seek reads in vain at most.
const INDEX_STEP: u64 = 64 << 10;

/// What one read from disk asks for.
const READ_BYTES: usize = 256 << 10;

/// The first 64 bytes of a segment: magic, journal id, base, creation time, ceiling, zeros,
/// CRC-32C of the 60 bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Identity of the journal, the same in all its segments.
    pub journal: Uuid,
    /// No record here is below it.
    pub base: Sequence,
    /// When it was made: no record here is older, none in the segment before is younger.
    pub created: Micros,
    /// First sequence that was not reserved when it was made.
    pub ceiling: Sequence,
}

impl SegmentHeader {
    /// The file name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:020}.journal", self.base.0)
    }

    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(self.journal.as_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.created.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.ceiling.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the bytes on disk; none when they are not a header.
    #[must_use]
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> Option<Self> {
        let field = |at: usize| bytes[at..].first_chunk::<8>().map(|field| u64::from_le_bytes(*field));
        if !bytes.starts_with(MAGIC) || crc32c::crc32c(&bytes[..60]).to_le_bytes() != bytes[60..64] {
            return None;
        }
        Some(Self {
            journal: Uuid::from_slice(&bytes[8..24]).ok()?,
            base: Sequence(field(24)?),
            created: Micros::saturating(field(32)?.cast_signed()),
            ceiling: Sequence(field(40)?),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    sequence: Sequence,
    received: Micros,
    offset: u64,
}

/// A segment open for reading, and, if it is the newest, for writing by the committer.
pub struct Segment {
    /// What its first bytes say.
    pub header: SegmentHeader,
    file: Arc<dyn SegmentFile>,
    length: AtomicU64,
    /// Missing for a segment found at start until the first seek into it.
    index: Mutex<Option<Vec<IndexEntry>>>,
}

/// Unreadable bytes between two readable records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} is damaged at byte {offset}: records after {after} and before {before} are lost")]
pub struct Damage {
    /// The file's name.
    pub segment: String,
    /// Where the first unreadable record starts.
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
        Ok(Self { header, file, length: AtomicU64::new(SEGMENT_HEADER_BYTES), index: Mutex::new(Some(Vec::new())) })
    }

    /// Opens a segment found on disk; none when it has no valid header.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open(file: Arc<dyn SegmentFile>) -> io::Result<Option<Self>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        file.read_at(&mut bytes, 0)?;
        let length = AtomicU64::new(file.length()?);
        Ok(SegmentHeader::decode(&bytes).map(|header| Self { header, file, length, index: Mutex::new(None) }))
    }

    /// Bytes of header and records.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Appends whole records; `entry` is the first of them. Committer only.
    ///
    /// # Errors
    /// As the file system says; the segment then ends where it ended before.
    pub fn append(&self, bytes: &[u8], first: Sequence, received: Micros) -> io::Result<()> {
        let offset = self.length();
        self.file.write_at(bytes, offset)?;
        if let Some(index) = self.index.lock().as_mut() {
            push_entry(index, IndexEntry { sequence: first, received, offset });
        }
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

    /// An offset at or before the first record with a sequence above `after`.
    ///
    /// # Errors
    /// As the file system says.
    pub fn seek(&self, after: Sequence) -> io::Result<u64> {
        self.with_index(|index| offset_before(index, |entry| entry.sequence <= after))
    }

    /// The sequence of a record that is not younger than `time`, close to the first such.
    ///
    /// # Errors
    /// As the file system says.
    pub fn seek_time(&self, time: Micros) -> io::Result<Sequence> {
        self.with_index(|index| {
            let behind = index.partition_point(|entry| entry.received < time);
            behind.checked_sub(1).and_then(|at| index.get(at)).map_or(self.header.base, |entry| entry.sequence)
        })
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
            let mut offsets = Vec::new();
            let (mut first, mut last, mut beyond) = (after, after, false);
            let (end, stop) = scan(&bytes, |at, header, record| {
                beyond = header.sequence > limit;
                if !beyond && header.sequence > last && !matches!(record, Record::Mark { .. }) {
                    if offsets.is_empty() {
                        first = header.sequence;
                    }
                    last = header.sequence;
                    offsets.push(at as u32);
                }
                !beyond
            });
            if !offsets.is_empty() {
                bytes.truncate(end);
                return Ok(SegmentRead::Records(Batch::from_disk(bytes, offsets, first, last), offset + end as u64));
            }
            if beyond {
                return Ok(SegmentRead::End);
            }
            match stop {
                None if end == 0 => return Ok(SegmentRead::End),
                None => offset += end as u64,
                Some(RecordError::Short) if end > 0 => offset += end as u64,
                Some(RecordError::Short) if offset + (bytes.len() as u64) < self.length() => {
                    want = needed(&bytes, want)
                }
                Some(RecordError::Unwritten) if self.written_behind(offset + end as u64)? == 0 => {
                    return Ok(SegmentRead::End);
                }
                Some(_) => {
                    let offset = offset + end as u64;
                    return Ok(SegmentRead::Damaged { offset, resume: self.resume_behind(offset, last)? });
                }
            }
        }
    }

    /// The nearest records with a sequence below `before`, in order: those of one stretch
    /// between two index entries. None when the segment has none; true when some are lost.
    ///
    /// # Errors
    /// As the file system says.
    pub fn read_before(&self, mut before: Sequence) -> io::Result<(Vec<Batch>, bool)> {
        let mut damaged = false;
        loop {
            let entry = self.with_index(|index| {
                let behind = index.partition_point(|entry| entry.sequence < before);
                behind.checked_sub(1).and_then(|at| index.get(at)).copied()
            })?;
            let offset = entry.map_or(SEGMENT_HEADER_BYTES, |entry| entry.offset);
            let batches = self.read_stretch(offset, before.previous(), &mut damaged)?;
            match entry {
                Some(entry) if batches.is_empty() => before = entry.sequence,
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

    /// The next whole record behind damage that starts after the record `after`: its offset, and
    /// the sequence below which records are lost.
    ///
    /// # Errors
    /// As the file system says.
    pub fn resume_behind(&self, damaged: u64, after: Sequence) -> io::Result<Option<(u64, Sequence)>> {
        let rest =
            self.bytes_at(damaged, usize::try_from(self.length().saturating_sub(damaged)).unwrap_or(usize::MAX))?;
        Ok((1..rest.len().saturating_sub(HEADER_BYTES)).find_map(|at| {
            let mut found = None;
            let header = Header::decode(&rest[at..]).ok()?;
            if header.sequence > after {
                scan(rest.get(at..at + header.record_bytes())?, |_, header, record| {
                    // A mark has the sequence of the record before it, which is lost.
                    let is_mark = matches!(record, Record::Mark { .. });
                    let sequence = if is_mark { header.sequence.next() } else { header.sequence };
                    found = Some((damaged + at as u64, sequence));
                    false
                });
            }
            found
        }))
    }

    /// Visits every record from `offset` on, as long as they are whole and sequences rise;
    /// `last` is the sequence before it and is moved along. Leftovers of a write that was
    /// refused and overwritten in part may be whole records, but their sequences fall back.
    ///
    /// # Errors
    /// As the file system says.
    pub fn scan(
        &self,
        mut offset: u64,
        last: &mut Sequence,
        mut visit: impl FnMut(&Record<'_>),
    ) -> io::Result<Scanned> {
        let mut want = READ_BYTES;
        loop {
            let bytes = self.bytes_at(offset, want)?;
            let mut fell_back = false;
            let (end, stop) = scan(&bytes, |_, header, record| {
                let mark = matches!(record, Record::Mark { .. });
                fell_back = if mark { header.sequence < *last } else { header.sequence <= *last };
                if !fell_back {
                    *last = header.sequence;
                    visit(record);
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
        loop {
            let bytes = self.bytes_at(at, READ_BYTES)?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                written = at + last as u64 + 1 - offset;
            }
            if bytes.len() < READ_BYTES {
                return Ok(written);
            }
            at += bytes.len() as u64;
        }
    }

    fn bytes_at(&self, offset: u64, want: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; want.min(left)];
        let read = self.file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn with_index<T>(&self, look: impl FnOnce(&[IndexEntry]) -> T) -> io::Result<T> {
        let mut index = self.index.lock();
        if index.is_none() {
            *index = Some(self.build_index()?);
        }
        Ok(look(index.as_deref().unwrap_or_default()))
    }

    fn build_index(&self) -> io::Result<Vec<IndexEntry>> {
        let mut index = Vec::new();
        let (mut offset, mut after) = (SEGMENT_HEADER_BYTES, Sequence::ZERO);
        loop {
            match self.read(offset, after, Sequence(u64::MAX))? {
                SegmentRead::Records(batch, end) => {
                    if let Some(Record::Publication { publication, .. }) = batch.get(0) {
                        let (sequence, received) = (publication.sequence, publication.received);
                        push_entry(&mut index, IndexEntry { sequence, received, offset });
                    }
                    (offset, after) = (end, batch.last());
                }
                SegmentRead::Damaged { resume: Some((at, sequence)), .. } => {
                    (offset, after) = (at, sequence.previous())
                }
                SegmentRead::Damaged { .. } | SegmentRead::End => return Ok(index),
            }
        }
    }
}

/// What to read so that the record at the start of `bytes` is whole.
fn needed(bytes: &[u8], want: usize) -> usize {
    Header::decode(bytes).map_or(want, |header| header.record_bytes()).max(want)
}

fn push_entry(index: &mut Vec<IndexEntry>, entry: IndexEntry) {
    if index.last().is_none_or(|last| entry.offset >= last.offset + INDEX_STEP) {
        index.push(entry);
    }
}

fn offset_before(index: &[IndexEntry], is_before: impl Fn(&IndexEntry) -> bool) -> u64 {
    let behind = index.partition_point(is_before);
    behind.checked_sub(1).and_then(|at| index.get(at)).map_or(SEGMENT_HEADER_BYTES, |entry| entry.offset)
}
