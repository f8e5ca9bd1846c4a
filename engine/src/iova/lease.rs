//! The bus addresses of one lease, for a holder that lets the engine choose them.

use thiserror::Error;

use super::{Alignment, GiveBackRefusal, IovaAllocator, RangeRefusal, TakeRefusal};
use crate::{
    addr::{Bytes, PageShift, Pages},
    window::{Claim, ClaimRefusal, Run, Window},
};

/// Gives out the bus addresses of a lease's range. [`crate::Engine::lease_addresses`] makes one; it belongs to the
/// holder, and knows nothing of what the holder maps elsewhere in its range afterwards.
#[derive(Debug)]
pub struct LeaseAddresses {
    window: Window,
    pages: IovaAllocator,
}

/// Why no address is given out or taken back.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressRefusal {
    /// The lease's range is none for an allocator.
    #[error(transparent)]
    Range(#[from] RangeRefusal),
    /// There is no such room.
    #[error(transparent)]
    Take(#[from] TakeRefusal),
    /// It was not given out.
    #[error(transparent)]
    GiveBack(#[from] GiveBackRefusal),
    /// The range is none of the window.
    #[error(transparent)]
    Claim(#[from] ClaimRefusal),
    /// Pages larger than any window's.
    #[error("there is no bus address aligned to {0}")]
    Alignment(PageShift),
}

impl LeaseAddresses {
    /// All of a range of a window, but what is mapped there already.
    pub(crate) fn new(
        window: Window,
        run: Run,
        mapped: impl Iterator<Item = (u64, Pages)>,
    ) -> Result<Self, AddressRefusal> {
        let mut pages = IovaAllocator::new(run.first()..run.end(), &[])?;
        for (first, count) in mapped {
            pages.take_at(first, count)?;
        }
        Ok(Self { window, pages })
    }

    /// Takes a range of this size, rounded up to whole pages of the window, that starts at a multiple of `align`.
    ///
    /// # Errors
    /// [`AddressRefusal::Take`] if there is none; [`AddressRefusal::Alignment`].
    pub fn take(&mut self, size: Bytes, align: PageShift) -> Result<Claim, AddressRefusal> {
        let page = self.window.page;
        let multiple = Pages::new(1 << align.raw().saturating_sub(page.raw()));
        let alignment = Alignment::of(multiple).ok_or(AddressRefusal::Alignment(align))?;
        let pages = size.pages_up(page);
        let first = self.pages.take(pages, alignment)?;
        Ok(Claim { start: self.window.iova_of(first), size: self.window.bytes_of(pages) })
    }

    /// Takes this very range.
    ///
    /// # Errors
    /// [`AddressRefusal::Take`] if some of it is taken, [`AddressRefusal::Claim`] if it is none of the window's.
    pub fn take_at(&mut self, claim: Claim) -> Result<(), AddressRefusal> {
        let run = self.window.admit(claim, &[])?;
        Ok(self.pages.take_at(run.first(), run.pages())?)
    }

    /// Takes a range back, or a part of one. Give back what is unmapped: it can be given out again at once.
    ///
    /// # Errors
    /// [`AddressRefusal::GiveBack`] if some of it was not given out.
    pub fn give_back(&mut self, claim: Claim) -> Result<(), AddressRefusal> {
        let run = self.window.admit(claim, &[])?;
        Ok(self.pages.give_back(run.first(), run.pages())?)
    }

    /// How much is free.
    #[must_use]
    pub fn free(&self) -> Bytes {
        self.window.bytes_of(self.pages.free())
    }

    /// The longest free range.
    #[must_use]
    pub fn largest_free(&self) -> Bytes {
        self.window.bytes_of(self.pages.largest_free())
    }
}
