//! A part of a batch: what one transaction stores of it.

use uuid::Uuid;

use super::RowBatch;
use crate::{
    timescale::{order::by_time, table::Table},
    types::{MessageKey, Sequence},
};

pub(super) const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub(super) const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Consecutive publications of a batch, and the positions of the journal that they lead from and to.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub(super) batch: &'a RowBatch,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Publications of the batch that are left out, rising.
    pub(super) without: &'a [usize],
}

impl<'a> Part<'a> {
    /// The same, less the rows of these publications.
    pub const fn without(self, without: &'a [usize]) -> Self {
        Self { without, ..self }
    }

    /// Events that may be repeats: their place in the batch, their id and key.
    pub fn keyed(self) -> impl Iterator<Item = (usize, Uuid, MessageKey)> {
        let is_here = move |(row, _): &&(usize, MessageKey)| (self.start..self.end).contains(row);
        let event = move |(row, key): &(usize, MessageKey)| Some((*row, self.batch.rows.get(*row)?.id, *key));
        self.batch.keyed.iter().filter(is_here).filter_map(event)
    }

    /// How many publications it has.
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// How many of them have a row in the table of events.
    pub fn events(&self) -> u64 {
        let is_there = |row: &usize| self.without.binary_search(row).is_err();
        let has_row = |row: &usize| self.batch.offset(Table::Events, *row) < self.batch.offset(Table::Events, row + 1);
        (self.start..self.end).filter(is_there).filter(has_row).count() as u64
    }

    /// The minutes that its measurements lie in, counted from 1970, each once and rising.
    pub fn minutes(&self) -> Vec<i64> {
        let is_here = |(row, _): &&(usize, i64)| (self.start..self.end).contains(row);
        let mut minutes: Vec<_> = self.batch.minutes.iter().filter(is_here).map(|(_, minute)| *minute).collect();
        minutes.sort_unstable();
        minutes.dedup();
        minutes
    }

    /// The position before its first record.
    pub fn after(&self) -> Sequence {
        let before = self.start.checked_sub(1).and_then(|row| self.batch.rows.get(row));
        before.map_or(self.batch.after, |row| row.sequence)
    }

    /// The position that is reached once it is stored.
    pub fn through(&self) -> Sequence {
        if self.end == self.batch.rows.len() {
            return self.batch.through;
        }
        self.last().map_or(self.batch.after, |(sequence, _)| sequence)
    }

    /// The last publication's sequence and event id.
    pub fn last(&self) -> Option<(Sequence, Uuid)> {
        let row = self.end.checked_sub(1).filter(|row| *row >= self.start)?;
        self.batch.rows.get(row).map(|row| (row.sequence, row.id))
    }

    /// Its two halves, where it has more than one publication.
    pub fn halves(self) -> Option<[Self; 2]> {
        let middle = self.start + self.len() / 2;
        (middle > self.start).then_some([Self { end: middle, ..self }, Self { start: middle, ..self }])
    }

    /// What to send for its rows in a table; none where there are none. In their order, or in that of time
    /// where they lie far apart.
    pub fn copy_data(&self, table: Table) -> Option<Vec<&'a [u8]>> {
        let rows = self.batch.rows.get(self.start..self.end).unwrap_or_default();
        let order = match table {
            Table::Events | Table::Measurements => by_time(rows.iter().map(|row| row.time)),
            Table::DeadLetters => None,
        };
        let mut pieces: Vec<&[u8]> = vec![HEADER];
        match order {
            Some(order) => {
                let there = order.into_iter().map(|place| self.start + place);
                let there = there.filter(|row| self.without.binary_search(row).is_err());
                pieces.extend(there.filter_map(|row| self.batch.between(table, row, row + 1)));
            }
            None => {
                let mut start = self.start;
                let left_out = self.without.iter().copied().filter(|row| (self.start..self.end).contains(row));
                for end in left_out.chain([self.end]) {
                    pieces.extend(self.batch.between(table, start, end));
                    start = end + 1;
                }
            }
        }
        (pieces.len() > 1).then(|| {
            pieces.push(&TRAILER);
            pieces
        })
    }
}
