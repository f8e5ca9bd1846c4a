//! Why a hypercall is refused, or a bus not added.

use thiserror::Error;

use super::{BUSES_MAX, GuestTce, LIST_TCES_MAX, Liobn, NotGuestMemory};
use crate::{
    addr::{GuestAddress, PageShift},
    edit::BATCH_EDITS_MAX,
    error::Error,
    lease::LeaseId,
    window::{Claim, ClaimRefusal},
};

/// Why a hypercall is refused before the engine is asked: the guest's registers or its list are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HypercallRefusal {
    /// No bus has this number.
    #[error("the guest has no bus with LIOBN {0:#x}")]
    NoBus(u64),
    /// A list for several tables at once, which is an option of PAPR (MTT) that is not offered.
    #[error("LIOBN {0:#x} asks for several tables at once, which is not offered")]
    SeveralTables(u64),
    /// The bus address is inside a page.
    #[error("bus address {ioba:#x} is not on a border of {liobn}'s {page} pages")]
    Misaligned {
        /// The bus.
        liobn: Liobn,
        /// The address.
        ioba: u64,
        /// The guest's page.
        page: PageShift,
    },
    /// Some of the TCEs are not of the bus.
    #[error("{count} TCEs from bus address {ioba:#x} leave {liobn}, which has {claim}")]
    Outside {
        /// The bus.
        liobn: Liobn,
        /// The first address.
        ioba: u64,
        /// How many TCEs.
        count: u64,
        /// What the bus has.
        claim: Claim,
    },
    /// The list would not fit a page.
    #[error("a list of {0} TCEs is too long; {LIST_TCES_MAX} is the most")]
    ListTooLong(u64),
    /// The list does not begin on a border of 4 KiB.
    #[error("the list of TCEs at {0} does not begin on a border of 4 KiB")]
    ListMisaligned(GuestAddress),
    /// The list is not in guest memory.
    #[error("the list of TCEs cannot be read: {0}")]
    NoList(NotGuestMemory),
    /// A TCE points into a page, or has a reserved bit set.
    #[error("TCE {tce} (number {number}) is not the address of a {page} page with its access")]
    MalformedTce {
        /// Which TCE of the call, from 0.
        number: u64,
        /// The TCE.
        tce: GuestTce,
        /// The guest's page.
        page: PageShift,
    },
    /// A TCE points to what is not guest memory, at least in part.
    #[error("TCE number {number} does not point to guest memory: {cause}")]
    NoMemory {
        /// Which TCE of the call, from 0.
        number: u64,
        /// Where there is none.
        cause: NotGuestMemory,
    },
    /// One page shall be mapped at many addresses.
    #[error("TCE {0} cannot be stuffed: only TCEs that map nothing can")]
    StuffedMapping(GuestTce),
    /// The guest's pages are in too many places of host memory.
    #[error("the guest's pages are in more than {BATCH_EDITS_MAX} places of host memory")]
    TooScattered,
}

/// Why a bus is not added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BusRefusal {
    /// The number is in use.
    #[error("{0} is there already: remove it first, or choose another number")]
    Taken(Liobn),
    /// The bus addresses belong, at least in part, to another bus.
    #[error("the range of {claim} is, at least in part, that of {other}")]
    Overlaps {
        /// The range.
        claim: Claim,
        /// The other bus.
        other: Liobn,
    },
    /// The range is empty, or start or size is not a multiple of the guest's page.
    #[error("the range of {claim} is not whole {page} pages of the guest")]
    Misaligned {
        /// The range.
        claim: Claim,
        /// The guest's page.
        page: PageShift,
    },
    /// No window begins at or before the range and reaches into it.
    #[error("no window has the range of {0}")]
    NoWindow(Claim),
    /// The range leaves the window.
    #[error(transparent)]
    Claim(#[from] ClaimRefusal),
    /// The guest's page is smaller than the window's, so that one TCE of the window would be several of the guest.
    #[error(
        "the guest's {guest} pages are smaller than the window's {window} pages: give the guest a larger page, or \
         make a window with a smaller one"
    )]
    PageTooSmall {
        /// The guest's page.
        guest: PageShift,
        /// The window's.
        window: PageShift,
    },
    /// The lease unmaps later, so that devices still reach what the guest believes unmapped.
    #[error(
        "{0} unmaps later, and a guest relies on what it unmaps being out of reach at once: take a lease that unmaps \
         strictly"
    )]
    Deferred(LeaseId),
    /// The lease cannot be used for it.
    #[error(transparent)]
    Engine(#[from] Error),
    /// [`BUSES_MAX`] buses are there.
    #[error("there are {BUSES_MAX} buses already, the most there can be")]
    TooMany,
}
