//! Leases that are lent to a guest of KVM's: the guest sets their TCEs by itself, with hypercalls that the kernel
//! answers.
//!
//! KVM takes a whole window, from its start on (`kvm_spapr_tce_attach_iommu_group`). Nobody is told what the guest maps:
//! the range is *opaque* until it is taken back, which is done as a whole.

use thiserror::Error;

use crate::{
    addr::{Bytes, Iova, PageShift, Pages},
    kernel::{GuestTableCall, GuestTableFd},
    lease::LeaseId,
    papr::Liobn,
    window::WindowId,
};

/// `sizeof(struct kvmppc_spapr_tce_table)`, and of a pointer to a page and of a TCE.
const HEADER: u64 = 120;
const WORD: u64 = 8;

/// How a guest shall see a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoanRequest {
    /// What it calls the table.
    pub liobn: Liobn,
    /// Its page, which is not smaller than the window's.
    pub page: PageShift,
}

/// A lease that is lent, or that is being taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    pub(crate) request: LoanRequest,
    pub(crate) tces: Pages,
    pub(crate) table: Option<GuestTableFd>,
}

impl Loan {
    /// How the guest sees it.
    #[must_use]
    pub const fn request(&self) -> &LoanRequest {
        &self.request
    }

    /// How many TCEs the guest's table has.
    #[must_use]
    pub const fn tces(&self) -> Pages {
        self.tces
    }

    /// The guest's table, until KVM has let it go.
    #[must_use]
    pub const fn table(&self) -> Option<GuestTableFd> {
        self.table
    }
}

/// What a guest's table charges to the locked memory (`kvmppc_stt_pages`).
#[must_use]
pub fn guest_table_charge(tces: Pages, system_page: PageShift) -> Option<Bytes> {
    let pages = Bytes::new(tces.raw().checked_mul(WORD)?).pages_up(system_page).raw();
    let header = Bytes::new(pages.checked_mul(WORD)?.checked_add(HEADER)?).pages_up(system_page);
    Pages::new(pages.checked_add(header.raw())?).bytes(system_page)
}

/// Why a lease is not lent, or a container has no guest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoanRefusal {
    /// No virtual machine was linked.
    #[error("the container is linked to no virtual machine: link one first")]
    NoGuest,
    /// There is one already.
    #[error("the container is linked to a virtual machine already")]
    HasGuest,
    /// The kernel unmaps nothing in a container that memory was never registered with, so nothing could be taken back
    /// (`EPERM`, `tce_iommu_ioctl`).
    #[error("no memory was ever registered with the container: register the guest's first")]
    NothingRegistered,
    /// KVM takes windows from their start only.
    #[error(
        "{lease} starts at {start}, and its window at {window}: KVM takes windows from their start"
    )]
    NotAtStart {
        /// The lease.
        lease: LeaseId,
        /// Where it starts.
        start: Iova,
        /// Where the window starts.
        window: Iova,
    },
    /// The guest's page is smaller than the window's.
    #[error("the guest's page of {page} is smaller than the window's of {window}")]
    SmallPage {
        /// The guest's.
        page: PageShift,
        /// The window's.
        window: PageShift,
    },
    /// The range is no whole number of the guest's pages, or does not start on one.
    #[error("{size} from {start} are not whole pages of {page}, the guest's")]
    NotWholePages {
        /// Where it starts.
        start: Iova,
        /// How large it is.
        size: Bytes,
        /// The guest's page.
        page: PageShift,
    },
    /// Something is mapped, and the guest would replace it.
    #[error(
        "{lease} has {tces} TCEs set or not known, which a guest would replace: unmap them first"
    )]
    InUse {
        /// The lease.
        lease: LeaseId,
        /// How many.
        tces: u64,
    },
    /// Its terms are ones that nobody could hold a guest to.
    #[error(
        "{0} allows less than all of its range for reading and writing, and KVM holds a guest to no less"
    )]
    Terms(LeaseId),
    /// Another table has that number.
    #[error("{0} is the number of another lease of this guest")]
    BusTaken(Liobn),
    /// The limit would not hold the guest's table.
    #[error(
        "the guest's table takes {needed} of locked memory and {charged} are taken or promised already, but the limit is {limit}"
    )]
    LockedMemory {
        /// What it charges.
        needed: Bytes,
        /// What is charged, or will be at a window's first use.
        charged: Bytes,
        /// The limit.
        limit: Bytes,
    },
    /// A guest sets TCEs, and nobody said where its memory is, so that its mappings could not be made anew.
    #[error(
        "{0} is lent to a guest, whose mappings would be lost: say where its memory is, or take it back first"
    )]
    WouldLose(LeaseId),
    /// The window is gone.
    #[error("{0} is gone")]
    NoWindow(WindowId),
}

/// The table of a guest for a range of a window that starts there.
pub(crate) fn table_call(request: &LoanRequest, start: Iova, size: Bytes) -> GuestTableCall {
    let LoanRequest { liobn, page } = *request;
    GuestTableCall {
        liobn: u64::from(liobn.0),
        page_shift: u32::from(page.raw()),
        offset: start.raw() >> page.raw(),
        size: size.raw() >> page.raw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_s_table_charges_its_pages_and_their_pointers() {
        // 2 GiB of 4K pages: 4 MiB of TCEs, and 1024 pointers with the header.
        let tces = Pages::new(1 << 19);
        let charge = guest_table_charge(tces, PageShift::K4);
        assert_eq!(charge, Some(Bytes::new((1024 + 3) << 12)));
        assert_eq!(guest_table_charge(tces, PageShift::K64), Some(Bytes::new((64 + 1) << 16)));
        assert_eq!(guest_table_charge(Pages::new(u64::MAX), PageShift::K4), None);
    }
}
