//! Questions for tests: ordinary ones, of which a test changes what it is about.
//!
//! Each function gives a whole value of which each field is public, so that struct update says what differs:
//!
//! ```
//! use tce_policy_sdk::{testing, types::Region};
//!
//! let rings = Region { backing: 12, ..testing::region(1 << 20) };
//! let question = testing::page_question([rings, testing::region(1 << 30)]);
//! assert_eq!(question.demand.regions[1].id, 1);
//! ```
//!
//! The container is one of a bare-metal POWER9 machine with 64 KiB pages: two slots, the first with the kernel's default
//! window in it, windows of 4 KiB, 64 KiB, 2 MiB and 1 GiB pages, and no limit on locked memory. The same policy, as a
//! component, is tried with scenarios: `tce policy test`.

use crate::{
    lease_policy::{AdmitQuestion, GroupLossQuestion, ReclaimQuestion, RenewQuestion, Shortage},
    page_bytes,
    page_selection::PageQuestion,
    types::{
        Access, Bytes, ContainerFacts, Demand, Instant, IovaChoice, Lease, LeaseRequest,
        LockedMemory, PageChoice, PageShift, Platform, Region, ReservedRange, Setting, Slot,
        SlotFacts, SlotUse, Terms, Window,
    },
    window_sizing::{Candidate, GrowthQuestion, Origin, WindowQuestion},
};

/// What time it is in all questions.
pub const NOW: Instant = 1_700_000_000_000;

/// Where windows of slot 1 start.
const SECOND_START: u64 = 1 << 59;

/// The container.
#[must_use]
pub fn facts() -> ContainerFacts {
    let mmio = ReservedRange { start: 2 << 30, size: 2 << 30, what: "mmio-32bit".to_owned() };
    ContainerFacts {
        platform: Platform::Powernv,
        system_page: 16,
        page_shifts: vec![12, 16, 21, 30],
        slots: vec![
            SlotFacts { slot: 0, start: 0, holds: SlotUse::DefaultWindow },
            SlotFacts { slot: 1, start: SECOND_START, holds: SlotUse::Free },
        ],
        levels_max: 5,
        reserved_ranges: vec![mmio],
        locked_memory: LockedMemory { limit: None, charged: 0 },
        groups: vec![1],
        hints: vec![],
    }
}

/// A region of this size, backed by 64 KiB pages, which devices read and write.
#[must_use]
pub fn region(size: Bytes) -> Region {
    Region {
        id: 0,
        name: "memory".to_owned(),
        size,
        backing: 16,
        granule: 16,
        access: Access::ReadWrite,
        at: None,
        hints: vec![],
    }
}

/// These regions, numbered from 0 on, for devices that drive all address bits.
#[must_use]
pub fn demand(regions: impl IntoIterator<Item = Region>) -> Demand {
    let numbered = regions.into_iter().zip(0u32..).map(|(region, id)| Region { id, ..region });
    Demand {
        regions: numbered.collect(),
        growth: 0,
        device_mask: u64::MAX,
        iova_choice: IovaChoice::Engine,
        hints: vec![],
    }
}

/// A setting.
#[must_use]
pub fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned() }
}

/// Which pages for these regions?
#[must_use]
pub fn page_question(regions: impl IntoIterator<Item = Region>) -> PageQuestion {
    PageQuestion { facts: facts(), demand: demand(regions), settings: vec![] }
}

/// Which windows for these regions, all of them with this page? With candidates of one level, in both slots, from
/// the first size that holds the smallest region to 1 TiB.
#[must_use]
pub fn window_question(
    page: PageShift,
    regions: impl IntoIterator<Item = Region>,
) -> WindowQuestion {
    let demand = demand(regions);
    let smallest = demand.regions.iter().map(|region| region.size).min().unwrap_or(0);
    WindowQuestion {
        pages: vec![demand.all_with(page)],
        candidates: [0, 1].into_iter().flat_map(|slot| candidates(slot, page, smallest)).collect(),
        facts: facts(),
        demand,
        settings: vec![],
    }
}

/// The windows of one slot and page, from the first power of two that holds `smallest`.
#[must_use]
pub fn candidates(slot: Slot, page: PageShift, smallest: Bytes) -> Vec<Candidate> {
    const LARGEST: Bytes = 1 << 40;
    let page_size = page_bytes(page).max(1);
    let first = smallest.max(page_size).checked_next_power_of_two();
    let sizes = std::iter::successors(first, |size| size.checked_mul(2));
    sizes.take_while(|size| *size <= LARGEST).map(|size| candidate(slot, page, size)).collect()
}

/// A window that is created, with a table of one level.
#[must_use]
pub fn candidate(slot: Slot, page: PageShift, size: Bytes) -> Candidate {
    let table = (size / page_bytes(page).max(1)).saturating_mul(8).max(1 << 16);
    Candidate {
        slot,
        start: if slot == 0 { 0 } else { SECOND_START },
        page,
        size,
        levels: 1,
        origin: Origin::Created,
        table,
        // The kernel keeps a second table, of user addresses, of the same size.
        charge: table.saturating_mul(2),
    }
}

/// A window of slot 0 of which nothing is leased.
#[must_use]
pub fn window(page: PageShift, size: Bytes) -> Window {
    Window { slot: 0, start: 0, size, page, levels: 1, unleased: size, hints: vec![] }
}

/// Somebody asks for so much of a window with 64 KiB pages, to read and write, until given back.
#[must_use]
pub fn request(size: Bytes) -> LeaseRequest {
    LeaseRequest {
        holder: "somebody".to_owned(),
        size,
        access: Access::ReadWrite,
        tces: size >> 16,
        memory: size,
        duration: None,
        hints: vec![],
    }
}

/// A lease of so much of a window with 64 KiB pages, without an end.
#[must_use]
pub fn lease(id: u64, holder: &str, size: Bytes) -> Lease {
    let terms = Terms {
        access: Access::ReadWrite,
        tces_max: size >> 16,
        pinned_max: None,
        edits_per_second: None,
        expires: None,
    };
    Lease {
        id,
        holder: holder.to_owned(),
        slot: 0,
        start: 0,
        size,
        terms,
        since: NOW,
        tces: 0,
        pinned: 0,
        hints: vec![],
    }
}

/// Shall this lease be, beside those?
#[must_use]
pub fn admit_question(request: LeaseRequest, leases: Vec<Lease>) -> AdmitQuestion {
    let taken = leases.iter().map(|lease| lease.size).fold(0, Bytes::saturating_add);
    let whole = window(16, 1 << 34);
    let window = Window { unleased: whole.size.saturating_sub(taken), ..whole };
    AdmitQuestion { facts: facts(), window, request, leases, now: NOW, settings: vec![] }
}

/// Shall this lease go on for so many milliseconds?
#[must_use]
pub fn renew_question(lease: Lease, duration: Option<u64>) -> RenewQuestion {
    let leases = vec![lease.clone()];
    let window = window(16, 1 << 34);
    RenewQuestion { facts: facts(), window, lease, duration, leases, now: NOW, settings: vec![] }
}

/// Which of these leases shall end, so that the request gets its room in a window?
#[must_use]
pub fn reclaim_question(request: LeaseRequest, leases: Vec<Lease>) -> ReclaimQuestion {
    let window = window(16, 1 << 34);
    ReclaimQuestion {
        facts: facts(),
        window: window.clone(),
        windows: vec![window],
        shortage: Shortage::WindowSpace,
        wanted: request.size,
        request,
        leases,
        now: NOW,
        settings: vec![],
    }
}

/// Which of these leases shall end with group 2, which leaves?
#[must_use]
pub fn group_loss_question(leases: Vec<Lease>) -> GroupLossQuestion {
    let windows = vec![window(16, 1 << 34)];
    GroupLossQuestion { facts: facts(), group: 2, windows, leases, now: NOW, settings: vec![] }
}

/// Which window shall this lease of slot 0 grow into? With windows of 64 KiB pages in slot 1.
#[must_use]
pub fn growth_question(lease: Lease, size: Bytes) -> GrowthQuestion {
    let window = window(16, lease.size.checked_next_power_of_two().unwrap_or(lease.size));
    GrowthQuestion {
        facts: facts(),
        windows: vec![window],
        leases: vec![lease.clone()],
        lease,
        size,
        candidates: candidates(1, 16, size),
        now: NOW,
        settings: vec![],
    }
}

/// A choice of this page for these regions.
#[must_use]
pub fn choice(page: PageShift, regions: &[u32]) -> PageChoice {
    PageChoice { page, regions: regions.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::{admit_question, candidates, lease, region, request, window_question};

    #[test]
    fn regions_are_numbered_and_candidates_hold_the_smallest() {
        let question = window_question(16, [region(3 << 20), region(1 << 30)]);
        let ids: Vec<u32> = question.demand.regions.iter().map(|region| region.id).collect();
        assert_eq!(ids, [0, 1]);
        assert_eq!(question.candidates.first().map(|it| it.size), Some(4 << 20));
        assert_eq!(question.candidates.last().map(|it| (it.slot, it.size)), Some((1, 1 << 40)));
        assert!(candidates(0, 16, u64::MAX).is_empty());
    }

    #[test]
    fn what_is_leased_is_no_longer_unleased() {
        let question = admit_question(request(1 << 20), vec![lease(1, "vm-7", 1 << 30)]);
        assert_eq!(question.window.unleased, question.window.size - (1 << 30));
    }
}
