//! What a program believes to be mapped, and the unmaps that cannot have meant what they said.
//!
//! A program that frees memory unmaps it and unregisters it. Where the unmapped range holds none of the addresses that
//! the memory was mapped at, the unmap was of the wrong range: the program believes its memory unmapped, and does not
//! know what else it erased.

use std::collections::{BTreeMap, BTreeSet};

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::MemoryRange,
};

use crate::format::Place;

/// A piece of memory that the program mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where the device finds it.
    pub iova: Iova,
    /// The memory.
    pub address: HostAddr,
    /// How much.
    pub size: Bytes,
    /// As in the map.
    pub flags: u32,
}

/// A range of addresses of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    /// The first.
    pub iova: Iova,
    /// How many.
    pub size: Bytes,
}

/// An unmap, once it is known what it was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Its line.
    pub place: Place,
    /// What was unmapped.
    pub range: IovaRange,
    /// TCEs that it cleared.
    pub cleared: u64,
    /// What it was meant for, if that is something else.
    pub meant: Option<Vec<Piece>>,
    /// What the program believed to be mapped in the range, where the range was right.
    pub believed: Vec<Piece>,
}

/// What the program believes of one container.
#[derive(Debug, Default)]
pub struct Belief {
    by_iova: BTreeMap<u64, Piece>,
    by_address: BTreeSet<(u64, u64)>,
    waiting: Option<Unmapped>,
}

impl Belief {
    /// A map was made. What was there before is replaced.
    pub fn map(&mut self, piece: Piece) -> Option<Unmapped> {
        let settled = self.settle();
        self.cut(piece.iova.raw(), end(piece.iova.raw(), piece.size));
        self.insert(piece);
        settled
    }

    /// An unmap was made. Whether its range was right shows in the next call.
    pub fn unmap(&mut self, place: Place, range: IovaRange, cleared: u64) -> Option<Unmapped> {
        let settled = self.settle();
        self.waiting = Some(Unmapped { place, range, cleared, meant: None, believed: Vec::new() });
        settled
    }

    /// Memory was unregistered: nobody can want it mapped any more. Gives what the program still believed mapped.
    pub fn unregister(&mut self, memory: MemoryRange) -> (Option<Unmapped>, Vec<Piece>) {
        let of_memory = self.pieces_of(memory);
        let settled = match self.waiting.take() {
            Some(unmapped) if is_wrong(&of_memory, unmapped.range) => {
                Some(Unmapped { meant: Some(of_memory.clone()), ..unmapped })
            }
            waiting => {
                self.waiting = waiting;
                self.settle()
            }
        };
        let was_wrong = settled.as_ref().is_some_and(|it| it.meant.is_some());
        let left = if was_wrong { Vec::new() } else { self.pieces_of(memory) };
        for piece in self.pieces_of(memory) {
            self.remove(piece);
        }
        (settled, left)
    }

    /// Another call was made, or none follows: an unmap that waits was right.
    pub fn settle(&mut self) -> Option<Unmapped> {
        let mut unmapped = self.waiting.take()?;
        let start = unmapped.range.iova.raw();
        unmapped.believed = self.cut(start, end(start, unmapped.range.size));
        Some(unmapped)
    }

    /// A window went away with its mappings.
    pub fn forget(&mut self, range: IovaRange) {
        self.cut(range.iova.raw(), end(range.iova.raw(), range.size));
    }

    /// Everything that is believed to be mapped, by address of the device.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.by_iova.values()
    }

    /// What is believed to be mapped of this memory.
    fn pieces_of(&self, memory: MemoryRange) -> Vec<Piece> {
        let start = memory.address.raw();
        let end = end(start, memory.size);
        // A piece that begins before the memory can reach into it; the nearest one is enough, pieces of one
        // registered range do not cross into the next.
        let before = self.by_address.range(..(start, 0)).next_back();
        let inside = self.by_address.range((start, 0)..(end, 0));
        let pieces = before.into_iter().chain(inside);
        let pieces = pieces.filter_map(|(_, iova)| self.by_iova.get(iova)).copied();
        pieces.filter(|piece| self::end(piece.address.raw(), piece.size) > start).collect()
    }

    fn insert(&mut self, piece: Piece) {
        self.by_iova.insert(piece.iova.raw(), piece);
        self.by_address.insert((piece.address.raw(), piece.iova.raw()));
    }

    fn remove(&mut self, piece: Piece) {
        self.by_iova.remove(&piece.iova.raw());
        self.by_address.remove(&(piece.address.raw(), piece.iova.raw()));
    }

    /// Takes out what lies in a range, pieces of pieces too.
    fn cut(&mut self, start: u64, end: u64) -> Vec<Piece> {
        let mut found = Vec::new();
        if let Some((_, piece)) = self.by_iova.range(..start).next_back()
            && self::end(piece.iova.raw(), piece.size) > start
        {
            found.push(*piece);
        }
        found.extend(self.by_iova.range(start..end.max(start)).map(|(_, piece)| *piece));
        let mut taken = Vec::new();
        for piece in found {
            self.remove(piece);
            let (from, until) = (piece.iova.raw(), self::end(piece.iova.raw(), piece.size));
            if from < start {
                self.insert(part(piece, from, start));
            }
            if until > end {
                self.insert(part(piece, end, until));
            }
            taken.push(part(piece, from.max(start), until.min(end)));
        }
        taken
    }
}

fn is_wrong(of_memory: &[Piece], range: IovaRange) -> bool {
    let (start, end) = (range.iova.raw(), end(range.iova.raw(), range.size));
    let touches =
        |piece: &Piece| piece.iova.raw() < end && self::end(piece.iova.raw(), piece.size) > start;
    !of_memory.is_empty() && !of_memory.iter().any(touches)
}

/// The part of a piece between two addresses of the device.
fn part(piece: Piece, from: u64, until: u64) -> Piece {
    let offset = Bytes::new(from.saturating_sub(piece.iova.raw()));
    Piece {
        iova: Iova::new(from),
        address: piece.address.checked_add(offset).unwrap_or(piece.address),
        size: Bytes::new(until.saturating_sub(from)),
        ..piece
    }
}

fn end(start: u64, size: Bytes) -> u64 {
    start.saturating_add(size.raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(iova: u64, address: u64, size: u64) -> Piece {
        Piece {
            iova: Iova::new(iova),
            address: HostAddr::new(address),
            size: Bytes::new(size),
            flags: 3,
        }
    }

    fn range(iova: u64, size: u64) -> IovaRange {
        IovaRange { iova: Iova::new(iova), size: Bytes::new(size) }
    }

    fn memory(address: u64, size: u64) -> MemoryRange {
        MemoryRange { address: HostAddr::new(address), size: Bytes::new(size) }
    }

    #[test]
    fn an_unmap_of_everything_below_the_freed_page_is_wrong() {
        let mut belief = Belief::default();
        belief.map(piece(0x4000, 0x10_0000, 0x1000));
        belief.map(piece(0x6000, 0x20_0000, 0x1000));
        assert_eq!(belief.unmap(Place(3), range(0, 0x6000), 1), None);
        let (settled, left) = belief.unregister(memory(0x20_0000, 0x1000));
        assert_eq!(settled.unwrap().meant.unwrap(), [piece(0x6000, 0x20_0000, 0x1000)]);
        assert_eq!(left, []);
        let pieces: Vec<_> = belief.pieces().copied().collect();
        assert_eq!(pieces, [piece(0x4000, 0x10_0000, 0x1000)]);
    }

    #[test]
    fn an_unmap_of_the_freed_page_is_right() {
        let mut belief = Belief::default();
        belief.map(piece(0x4000, 0x10_0000, 0x2000));
        belief.unmap(Place(2), range(0x4000, 0x2000), 2);
        let (settled, left) = belief.unregister(memory(0x10_0000, 0x2000));
        let settled = settled.unwrap();
        assert_eq!(
            (settled.meant, settled.believed),
            (None, vec![piece(0x4000, 0x10_0000, 0x2000)])
        );
        assert_eq!(left, []);
        assert_eq!(belief.pieces().count(), 0);
    }

    #[test]
    fn an_unmap_in_the_middle_leaves_both_sides() {
        let mut belief = Belief::default();
        belief.map(piece(0x4000, 0x10_0000, 0x4000));
        belief.unmap(Place(2), range(0x5000, 0x1000), 1);
        assert_eq!(belief.settle().unwrap().believed, [piece(0x5000, 0x10_1000, 0x1000)]);
        let pieces: Vec<_> = belief.pieces().copied().collect();
        assert_eq!(pieces, [piece(0x4000, 0x10_0000, 0x1000), piece(0x6000, 0x10_2000, 0x2000)]);
    }

    #[test]
    fn memory_that_is_unregistered_while_mapped_is_told() {
        let mut belief = Belief::default();
        belief.map(piece(0x4000, 0x10_0000, 0x1000));
        let (settled, left) = belief.unregister(memory(0x10_0000, 0x1000));
        assert_eq!((settled, left), (None, vec![piece(0x4000, 0x10_0000, 0x1000)]));
    }
}
