//! What is asked for when memory is to be registered.

use crate::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
};

use super::{PIECES_MAX, Piece, RegionRefusal, USER_SPACE_END, piece::Cuts};

/// Memory that pages of one size back, next to other such memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedPart {
    /// How much.
    pub size: Bytes,
    /// The pages: those of hugetlb memory, the system's for all other (transparent huge pages do not count). Said to
    /// be smaller than they are, they take smaller TCEs only; said to be larger, the kernel fails the maps.
    pub page: PageShift,
}

/// Memory to be registered: where, what backs it, and in how many calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRequest {
    address: HostAddr,
    parts: Vec<BackedPart>,
    chunk: Option<Bytes>,
}

impl RegionRequest {
    /// Memory that pages of one size back throughout.
    #[must_use]
    pub fn uniform(range: MemoryRange, page: PageShift) -> Self {
        let part = BackedPart { size: range.size, page };
        Self { address: range.address, parts: vec![part], chunk: None }
    }

    /// Memory whose parts, one behind the other, are backed differently.
    #[must_use]
    pub const fn mixed(address: HostAddr, parts: Vec<BackedPart>) -> Self {
        Self { address, parts, chunk: None }
    }

    /// The same, registered in pieces of no more than so much, so that others can go on between the calls: each call
    /// holds the process's memory map until all its pages are pinned. Pieces are whole pages of the backing, so one
    /// page is the least.
    #[must_use]
    pub fn in_chunks(self, chunk: Bytes) -> Self {
        Self { chunk: Some(chunk), ..self }
    }

    /// The memory, whether it can be registered or not.
    #[must_use]
    pub fn range(&self) -> MemoryRange {
        let sizes = self.parts.iter().map(|part| part.size);
        let size = sizes.fold(Bytes::ZERO, Bytes::saturating_add);
        MemoryRange { address: self.address, size }
    }

    /// The memory, if it is whole system pages of user space.
    pub(super) fn checked_range(
        &self,
        system_page: PageShift,
    ) -> Result<MemoryRange, RegionRefusal> {
        let range @ MemoryRange { size, .. } = self.range();
        let sizes = self.parts.iter().map(|part| part.size);
        let is_whole = |part: Bytes| !part.is_zero() && part.is_multiple_of(system_page);
        let is_aligned = self.address.is_aligned(system_page);
        if self.parts.is_empty() || !is_aligned || !sizes.into_iter().all(is_whole) {
            return Err(RegionRefusal::Misaligned { range, page: system_page });
        }
        match self.address.checked_add(size) {
            Some(end) if end <= USER_SPACE_END => Ok(range),
            Some(_) | None => Err(RegionRefusal::BeyondUserSpace { range }),
        }
    }

    /// Its parts, neighbours of the same page made one: the fewer pieces the better.
    pub(super) fn joined_parts(&self) -> Box<[BackedPart]> {
        let mut joined: Vec<BackedPart> = Vec::new();
        for part in &self.parts {
            match joined.last_mut() {
                Some(last) if last.page == part.page => {
                    last.size = last.size.saturating_add(part.size);
                }
                _ => joined.push(*part),
            }
        }
        joined.into()
    }

    /// The pieces of parts that lie in user space.
    pub(super) fn pieces(
        &self,
        parts: &[BackedPart],
        system_page: PageShift,
    ) -> Result<Box<[Piece]>, RegionRefusal> {
        let starts = parts.iter().scan(self.address, |next, part| {
            let start = *next;
            *next = start.checked_add(part.size)?;
            Some(start)
        });
        let pieces = starts.zip(parts).flat_map(|(address, part)| {
            let range = MemoryRange { address, size: part.size };
            Cuts::new(range, part.page, self.chunk, system_page)
        });
        let pieces: Vec<Piece> = pieces.take(PIECES_MAX + 1).collect();
        if pieces.len() > PIECES_MAX {
            return Err(RegionRefusal::TooManyPieces { there: 0 });
        }
        Ok(pieces.into())
    }
}
