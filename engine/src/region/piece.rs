//! Pieces: what the kernel registers in one call.

use crate::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
};

/// One registration of the kernel: a part of a region, exactly as it was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The memory.
    pub range: MemoryRange,
    /// The largest TCE page that it takes: its backing page, or less where address or size are less aligned
    /// (`mm_iommu_do_alloc`). So both its borders lie on borders of this page.
    pub page: PageShift,
}

impl Piece {
    /// # Panics
    /// If it is not whole pages of 4 KiB.
    fn new(range: MemoryRange, backing: PageShift) -> Self {
        let natural = (range.address.raw() | range.size.raw()).trailing_zeros();
        let shift = u8::try_from(natural).unwrap_or(u8::MAX).min(backing.raw());
        Self { range, page: PageShift::new(shift).expect("at least a system page") }
    }
}

/// Cuts memory that lies in user space, backed by pages of one size, at borders of `border`: a piece is no longer than
/// `chunk`, but for one of a single page.
pub(super) struct Cuts {
    at: u64,
    end: u64,
    chunk: u64,
    border: u64,
    backing: PageShift,
}

impl Cuts {
    /// Larger TCE pages than the backing do not fit anyway, so its borders are those that matter.
    pub(super) fn new(
        range: MemoryRange,
        backing: PageShift,
        chunk: Option<Bytes>,
        system_page: PageShift,
    ) -> Self {
        Self {
            at: range.address.raw(),
            end: super::end_of(range),
            chunk: chunk.map_or(u64::MAX, Bytes::raw),
            border: backing.max(system_page).bytes().raw(),
            backing,
        }
    }

    /// Where the piece ends that starts at `at`: on the last border in reach, or else on the next.
    fn cut(&self) -> u64 {
        let reach = self.at.saturating_add(self.chunk).min(self.end);
        if reach == self.end {
            return self.end;
        }
        let last = reach - reach % self.border;
        let next = self.at - self.at % self.border + self.border;
        last.max(next).min(self.end)
    }
}

impl Iterator for Cuts {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.at >= self.end {
            return None;
        }
        let cut = self.cut();
        let range =
            MemoryRange { address: HostAddr::new(self.at), size: Bytes::new(cut - self.at) };
        self.at = cut;
        Some(Piece::new(range, self.backing))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn cuts(address: u64, size: u64, backing: PageShift, chunk: Option<u64>) -> Vec<Piece> {
        let range = MemoryRange { address: HostAddr::new(address), size: Bytes::new(size) };
        Cuts::new(range, backing, chunk.map(Bytes::new), PageShift::K64).collect()
    }

    fn piece(address: u64, size: u64, page: PageShift) -> Piece {
        let range = MemoryRange { address: HostAddr::new(address), size: Bytes::new(size) };
        Piece { range, page }
    }

    #[test]
    fn a_piece_takes_tces_no_larger_than_its_backing_and_its_alignment() {
        let page = |address, size, backing| cuts(address, size, backing, None)[0].page;
        assert_eq!(page(0x20_0000, 0x40_0000, PageShift::M2), PageShift::M2);
        assert_eq!(page(0x21_0000, 0x40_0000, PageShift::M2), PageShift::K64);
        assert_eq!(page(0x20_0000, 0x1_0000, PageShift::M2), PageShift::K64);
        assert_eq!(page(0x20_0000, 0x40_0000, PageShift::K4), PageShift::K4);
    }

    #[test]
    fn ragged_ends_do_not_take_large_pages_from_the_middle() {
        let start = 2 * MIB + 0x1_0000;
        let pieces = cuts(start, 6 * MIB, PageShift::M2, Some(3 * MIB));
        assert_eq!(
            pieces,
            [
                piece(start, 2 * MIB - 0x1_0000, PageShift::K64),
                piece(4 * MIB, 2 * MIB, PageShift::M2),
                piece(6 * MIB, 2 * MIB + 0x1_0000, PageShift::K64),
            ]
        );
    }

    #[test]
    fn a_chunk_smaller_than_a_page_means_one_page() {
        for chunk in [0, 1, 0x1_0000, 2 * MIB, 3 * MIB] {
            let pieces = cuts(4 * MIB, 6 * MIB, PageShift::M2, Some(chunk));
            let expected = [4, 6, 8].map(|at| piece(at * MIB, 2 * MIB, PageShift::M2));
            assert_eq!(pieces, expected, "{chunk:#x}");
        }
        let tiny = cuts(0x1_0000, 0x2_0000, PageShift::K4, Some(0x1000));
        assert_eq!(tiny.len(), 2, "a system page at least");
    }

    proptest! {
        #[test]
        fn pieces_cover_the_memory_on_page_borders_and_are_no_longer_than_a_chunk(
            start in 1u64..200, pages in 1u64..400, chunk in 0u64..80,
            backing in prop::sample::select(vec![PageShift::K4, PageShift::K64, PageShift::M2]),
        ) {
            let (start, size, chunk) = (start << 16, pages << 16, chunk << 15);
            let pieces = cuts(start, size, backing, Some(chunk));
            let border = backing.max(PageShift::K64);
            let mut at = start;
            for piece in &pieces {
                prop_assert_eq!(piece.range.address.raw(), at);
                prop_assert!(at == start || piece.range.address.is_aligned(border));
                prop_assert!(piece.range.size.raw() <= chunk.max(border.bytes().raw()));
                prop_assert!(piece.range.address.is_aligned(piece.page));
                prop_assert!(piece.range.size.is_multiple_of(piece.page));
                at += piece.range.size.raw();
            }
            prop_assert_eq!(at, start + size);
            // Who shares the region and asked for it in one piece finds all that one piece would take.
            let whole = cuts(start, size, backing, None)[0].page;
            prop_assert!(pieces.iter().all(|piece| piece.page >= whole));
        }
    }
}
