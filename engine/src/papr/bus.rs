//! The guest's buses: which LIOBN stands for which bus addresses.

use std::{collections::BTreeMap, fmt};

use super::{BusRefusal, HypercallRefusal};
use crate::{
    Engine,
    addr::{Iova, PageShift, Pages},
    edit::Edit,
    error::Error,
    kernel::Kernel,
    lease::{LeaseId, Timestamp},
    lingering::Unmapping,
    window::{Claim, Window, WindowId},
};

/// The most buses of one container. QEMU gives a guest 31 PCI host bridges with two windows each.
pub const BUSES_MAX: usize = 256;

/// A logical I/O bus number: what a guest calls a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Liobn(pub u32);

impl Liobn {
    /// The number in a register; `None` if it has more than 32 bits.
    #[must_use]
    pub fn of_register(raw: u64) -> Option<Self> {
        u32::try_from(raw).ok().map(Self)
    }
}

impl fmt::Display for Liobn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LIOBN {:#x}", self.0)
    }
}

/// A bus that a guest shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRequest {
    /// What the guest calls it.
    pub liobn: Liobn,
    /// The lease that its mappings are made under.
    pub lease: LeaseId,
    /// Its bus addresses, which are those of the window: the guest's "offset" and its size.
    pub claim: Claim,
    /// The guest's page.
    pub page: PageShift,
}

/// A bus of a guest. All of it lies in one window, whose page is not larger than the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bus {
    request: BusRequest,
    window: WindowId,
}

impl Bus {
    /// What it was made of.
    #[must_use]
    pub const fn request(&self) -> &BusRequest {
        &self.request
    }

    /// The window that its TCEs are in.
    #[must_use]
    pub const fn window(&self) -> WindowId {
        self.window
    }

    /// How many TCEs the guest's table has.
    #[must_use]
    pub const fn tces(&self) -> Pages {
        self.request.claim.size.pages_up(self.request.page)
    }

    /// The bus addresses of `count` TCEs in a row. For none the range is empty, but its start is checked all the same.
    pub(super) fn range(&self, ioba: u64, count: u64) -> Result<Claim, HypercallRefusal> {
        let BusRequest { liobn, claim, page, .. } = self.request;
        let start = Iova::new(ioba);
        if !start.is_aligned(page) {
            return Err(HypercallRefusal::Misaligned { liobn, ioba, page });
        }
        let outside = HypercallRefusal::Outside { liobn, ioba, count, claim };
        let Some(offset) = start.offset_from(claim.start) else { return Err(outside) };
        let room = claim.size.checked_sub(offset).unwrap_or_default().pages_up(page);
        let size = Pages::new(count).bytes(page).filter(|_| Pages::new(count.max(1)) <= room);
        Ok(Claim { start, size: size.ok_or(outside)? })
    }
}

/// The buses of a guest whose devices are in one container.
///
/// A guest with devices in several containers has one of these for each, and its VMM asks which has a LIOBN
/// ([`Buses::get`]).
#[derive(Debug, Default)]
pub struct Buses(BTreeMap<Liobn, Bus>);

impl Buses {
    /// Adds a bus. Nothing is mapped or unmapped by that.
    ///
    /// # Errors
    /// [`BusRefusal`]: the range must be one of one window and of the lease as it is at `now`, with nothing of it
    /// quarantined, and the lease must unmap strictly.
    pub fn add<K: Kernel>(
        &mut self,
        engine: &Engine<K>,
        request: BusRequest,
        now: Timestamp,
    ) -> Result<(), BusRefusal> {
        self.check_room(&request)?;
        let window = window_at(engine, request.claim)?;
        if request.page < window.page {
            return Err(BusRefusal::PageTooSmall { guest: request.page, window: window.page });
        }
        let lease = engine.leases().active(request.lease).map_err(Error::from)?;
        if lease.unmapping != Unmapping::Strict {
            return Err(BusRefusal::Deferred(request.lease));
        }
        // What can be unmapped under the lease is the lease's.
        engine.plan(request.lease, &[Edit::Unmap(request.claim)], now)?;
        self.0.insert(request.liobn, Bus { request, window: window.id });
        Ok(())
    }

    fn check_room(&self, request: &BusRequest) -> Result<(), BusRefusal> {
        let BusRequest { liobn, claim, page, .. } = *request;
        if self.0.contains_key(&liobn) {
            return Err(BusRefusal::Taken(liobn));
        }
        let is_whole = claim.start.is_aligned(page) && claim.size.is_multiple_of(page);
        if claim.size.is_zero() || !is_whole {
            return Err(BusRefusal::Misaligned { claim, page });
        }
        if let Some(other) = self.iter().find(|other| overlap(claim, other.request.claim)) {
            return Err(BusRefusal::Overlaps { claim, other: other.request.liobn });
        }
        if self.0.len() >= BUSES_MAX {
            return Err(BusRefusal::TooMany);
        }
        Ok(())
    }

    /// Forgets a bus. What the guest has mapped there stays: to end it, its lease is revoked.
    pub fn remove(&mut self, liobn: Liobn) -> Option<Bus> {
        self.0.remove(&liobn)
    }

    /// The bus of this number.
    #[must_use]
    pub fn get(&self, liobn: Liobn) -> Option<&Bus> {
        self.0.get(&liobn)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Bus> {
        self.0.values()
    }
}

/// The window that has a range, all of it.
fn window_at<K: Kernel>(engine: &Engine<K>, claim: Claim) -> Result<Window, BusRefusal> {
    let mut windows = engine.windows().map(|state| *state.window());
    let window = windows.find(|window| {
        claim.start.offset_from(window.start).is_some_and(|offset| offset < window.size)
    });
    let window = window.ok_or(BusRefusal::NoWindow(claim))?;
    window.admit(claim, &[])?;
    Ok(window)
}

fn overlap(one: Claim, other: Claim) -> bool {
    let reaches = |low: Claim, high: Claim| {
        high.start.offset_from(low.start).is_some_and(|offset| offset < low.size)
    };
    reaches(one, other) || reaches(other, one)
}
