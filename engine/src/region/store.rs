//! The regions of a container.

use crate::{
    addr::{Bytes, HostAddr, PageShift},
    slots::Slots,
};

use super::{PIECES_MAX, Piece, REGIONS_MAX, Region, RegionId, RegionRefusal, RegionState};

/// The regions of a container. The places of those that are gone are remembered for the container's whole life, so that
/// no handle of before comes to mean another region.
#[derive(Debug)]
pub struct Regions(Slots<Region>);

/// What becomes of a wish for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There is room for it.
    New,
    /// It is this one, which has users already.
    Shared(RegionId),
}

impl Default for Regions {
    fn default() -> Self {
        Self(Slots::new(REGIONS_MAX))
    }
}

impl Regions {
    /// The region, if it is registered now, or in part.
    ///
    /// # Errors
    /// [`RegionRefusal::Gone`].
    pub fn get(&self, id: RegionId) -> Result<&Region, RegionRefusal> {
        self.0.get(id.0).ok_or(RegionRefusal::Gone(id))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, &Region)> {
        self.0.iter().map(|(handle, region)| (RegionId(handle), region))
    }

    /// Checks that a region can be added, or is there for everybody who wants the same.
    pub(crate) fn admit(&self, region: &Region) -> Result<Admission, RegionRefusal> {
        let range = region.range;
        if let Some((other, there)) = self.iter().find(|(_, other)| other.overlaps(region)) {
            if there.range != range {
                return Err(RegionRefusal::Overlaps { range, other });
            }
            if !there.is_same_memory(region) {
                return Err(RegionRefusal::BackedOtherwise { range, other });
            }
            return there.check_registered(other).map(|()| Admission::Shared(other));
        }
        if self.0.is_full() {
            return Err(RegionRefusal::TooMany);
        }
        let there = self.iter().map(|(_, other)| other.pieces().len()).sum();
        if region.pieces().len().saturating_add(there) > PIECES_MAX {
            return Err(RegionRefusal::TooManyPieces { there });
        }
        Ok(Admission::New)
    }

    /// # Panics
    /// If it was not admitted.
    pub(crate) fn insert(&mut self, region: Region) -> RegionId {
        RegionId(self.0.insert(region).expect("room was checked"))
    }

    /// Forgets a region of which nothing is registered.
    pub(crate) fn remove(&mut self, id: RegionId) {
        self.0.remove(id.0);
    }

    /// The piece that is to be registered next; `None` if all are.
    ///
    /// # Errors
    /// [`RegionRefusal::Gone`], [`RegionRefusal::Leaving`].
    pub(crate) fn next_piece(&self, id: RegionId) -> Result<Option<Piece>, RegionRefusal> {
        let region = self.get(id)?;
        if region.state() == RegionState::Leaving {
            region.check_registered(id)?;
        }
        Ok(region.next_piece())
    }

    /// The piece that is to be unregistered next, with what it has charged if that could be read; `None` if none is
    /// registered.
    pub(crate) fn newest_piece(&self, id: RegionId) -> Option<(Piece, Option<Bytes>)> {
        self.get(id).ok().and_then(Region::newest_piece)
    }

    /// Notes that the next piece is registered, and what it has charged if that could be read.
    pub(crate) fn add_piece(&mut self, id: RegionId, charged: Option<Bytes>) {
        self.live(id).add_piece(charged);
    }

    /// Notes that the newest piece is registered no more.
    pub(crate) fn remove_piece(&mut self, id: RegionId) {
        self.live(id).remove_piece();
    }

    /// Notes that a region is not to be completed.
    pub(crate) fn begin_leaving(&mut self, id: RegionId) {
        self.live(id).state = RegionState::Leaving;
    }

    /// Notes one more user.
    pub(crate) fn add_user(&mut self, id: RegionId) {
        self.live(id).users += 1;
    }

    /// Notes one user less.
    pub(crate) fn remove_user(&mut self, id: RegionId) {
        self.live(id).users -= 1;
    }

    /// Notes that so many more TCEs point into a region.
    pub(crate) fn add_tces(&mut self, id: RegionId, tces: u64) {
        self.live(id).tces += tces;
    }

    /// Notes that so many fewer TCEs point into a region.
    pub(crate) fn remove_tces(&mut self, id: RegionId, tces: u64) {
        self.live(id).tces -= tces;
    }

    fn live(&mut self, id: RegionId) -> &mut Region {
        self.0.get_mut(id.0).expect("what is used or registered is not forgotten")
    }

    /// The memory that a map of `size` bytes from `offset` with pages of `page` points to.
    #[inline]
    pub(crate) fn locate(
        &self,
        id: RegionId,
        offset: Bytes,
        size: Bytes,
        page: PageShift,
    ) -> Result<HostAddr, RegionRefusal> {
        let region = self.get(id)?;
        region.check_registered(id)?;
        let outside = || RegionRefusal::Outside { region: id, offset, size };
        let end = offset.checked_add(size).filter(|end| *end <= region.range.size);
        let end = end.and_then(|end| region.range.address.checked_add(end)).ok_or_else(outside)?;
        let start = region.range.address.checked_add(offset).ok_or_else(outside)?;
        // Pieces that take such pages have their borders on borders of such pages.
        if let Some(piece) = region.piece_below(start, end, page) {
            let Piece { range: piece, page: largest } = *piece;
            let region = id;
            return Err(RegionRefusal::PageTooLarge { region, piece, largest, page, offset, size });
        }
        if !start.is_aligned(page) || !size.is_multiple_of(page) {
            return Err(RegionRefusal::NotWholePages { region: id, page, offset, size });
        }
        Ok(start)
    }
}
