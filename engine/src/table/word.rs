//! One word of the table: a target with all that continues it, nothing, or the number of a block.
//!
//! A target is the address of its memory (bits 12 to 51: user addresses of POWER end at 2^52, `TASK_SIZE_USER64`), the
//! region's place (bits 52 to 63) and the access (bits 0 and 1, of which a target has one at least). A block's number
//! is in bits 32 to 63, with bit 2 beside it. Nothing is zero.

use crate::{
    access::Access,
    addr::{Bytes, HostAddr, PageShift},
    region::{REGIONS_MAX, RegionId},
};

use super::{MappedRun, Target, within::Piece};

/// No memory that a TCE points to ends here or above. It would run into the bits of the region.
pub const TARGETS_END: HostAddr = HostAddr::new(1 << 52);

const REGION_SHIFT: u32 = 52;
const ADDRESS_MASK: u64 = (1 << REGION_SHIFT) - (1 << 12);
const ACCESS_MASK: u64 = 0b11;
const BLOCK_SHIFT: u32 = 32;
const BLOCK_MARK: u64 = 0b100;

/// Which block of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockNumber(pub(super) u32);

/// What a word says of the TCEs it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// None is set.
    Nothing,
    /// The first has the word's target, and the others continue it.
    Target,
    /// They differ: see the block.
    Block(BlockNumber),
}

/// A word; its place in the tree says how many TCEs it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) const NOTHING: Self = Self(0);

    pub(super) const fn of_block(BlockNumber(number): BlockNumber) -> Self {
        #[expect(clippy::as_conversions, reason = "widening; u64::from is not const")]
        let number = number as u64;
        Self(number << BLOCK_SHIFT | BLOCK_MARK)
    }

    #[inline]
    pub(super) fn content(self) -> Content {
        match self.block() {
            Some(number) => Content::Block(number),
            None if self.is_target() => Content::Target,
            None => Content::Nothing,
        }
    }

    /// The block, if it is one's number; quicker to ask than the content.
    #[inline]
    pub(super) fn block(self) -> Option<BlockNumber> {
        let number = u32::try_from(self.0 >> BLOCK_SHIFT).expect("32 bits are left");
        (self.0 & BLOCK_MARK != 0).then_some(BlockNumber(number))
    }

    pub(crate) const fn is_target(self) -> bool {
        self.0 & ACCESS_MASK != 0
    }

    /// Whether it is a target with this address and access, in whichever region.
    #[inline]
    pub(crate) fn points_to(self, target: &Target) -> bool {
        self.0 & (ADDRESS_MASK | ACCESS_MASK) == target.address.raw() | bits(target.access)
    }

    /// The word of the TCE `tces` further on, if this is a target; nothing goes on as nothing.
    #[inline]
    pub(super) const fn advanced(self, tces: u64, page: PageShift) -> Self {
        if self.is_target() { Self(self.0 + (tces << page.raw())) } else { self }
    }
}

/// Which region is meant by a place. A region stays registered while a TCE points into it, so no two have one place.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Option<RegionId>>);

impl Places {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The word of a target.
    ///
    /// # Panics
    /// If its address is none of a registered region: not of whole pages, or at [`TARGETS_END`] or above.
    #[inline]
    pub(super) fn word(&mut self, target: Target) -> Word {
        let Target { address, access, region } = target;
        assert_eq!(address.raw() & !ADDRESS_MASK, 0, "{address} is no page of user memory");
        let place = region.0.index();
        let index = usize::try_from(place).expect("a place of a region");
        if self.0.get(index) != Some(&Some(region)) {
            self.remember(index, region);
        }
        Word(u64::from(place) << REGION_SHIFT | address.raw() | bits(access))
    }

    fn remember(&mut self, index: usize, region: RegionId) {
        assert!(index < REGIONS_MAX, "{region} has a place beyond the last");
        if index >= self.0.len() {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(region);
    }

    /// The run that a piece is.
    #[inline]
    pub(super) fn run(&self, piece: &Piece) -> MappedRun {
        let Piece { first, end, word } = *piece;
        MappedRun { first, pages: end - first, target: self.target(word) }
    }

    #[inline]
    pub(super) fn target(&self, Word(word): Word) -> Target {
        let place = usize::try_from(word >> REGION_SHIFT).ok();
        let region = place.and_then(|place| self.0.get(place).copied().flatten());
        Target {
            address: HostAddr::new(word & ADDRESS_MASK),
            access: access(word & ACCESS_MASK).expect("a target has an access"),
            region: region.expect("a target has a region"),
        }
    }

    /// Forgets all regions, when no TCE is set.
    pub(super) fn forget(&mut self) {
        self.0 = Vec::new();
    }

    pub(super) fn bytes(&self) -> Bytes {
        super::bytes_of::<Option<RegionId>>(self.0.capacity())
    }
}

const fn bits(access: Access) -> u64 {
    match access {
        Access::Read => 1,
        Access::Write => 2,
        Access::ReadWrite => 3,
    }
}

const fn access(bits: u64) -> Option<Access> {
    match bits {
        1 => Some(Access::Read),
        2 => Some(Access::Write),
        3 => Some(Access::ReadWrite),
        _ => None,
    }
}
