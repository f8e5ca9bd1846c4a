//! A container as powernv has it, windows that could be, and leases: for the tests of several policies.

use tce_policy_sdk::{
    lease_policy::{AdmitQuestion, ReclaimQuestion, RenewQuestion, Shortage},
    types::{
        Access, ContainerFacts, Demand, Hint, IovaChoice, Lease, LeaseRequest, LockedMemory,
        Platform, Region, ReservedRange, Setting, SlotFacts, SlotUse, Terms, Window,
    },
    window_sizing::{Candidate, GrowthQuestion, Origin, WindowQuestion},
};

pub(crate) const K4: u8 = 12;
pub(crate) const K64: u8 = 16;
pub(crate) const M2: u8 = 21;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const HIGH: u64 = 1 << 59;
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) fn facts() -> ContainerFacts {
    let slot = |slot, start, holds| SlotFacts { slot, start, holds };
    let mmio = ReservedRange { start: 2 * GIB, size: 2 * GIB, what: "mmio-32bit".to_owned() };
    ContainerFacts {
        platform: Platform::Powernv,
        system_page: K64,
        page_shifts: vec![K4, K64, M2, 30],
        slots: vec![slot(0, 0, SlotUse::DefaultWindow), slot(1, HIGH, SlotUse::Free)],
        levels_max: 5,
        reserved_ranges: vec![mmio],
        locked_memory: LockedMemory { limit: Some(64 * MIB), charged: 8 * MIB },
        groups: vec![1],
        hints: vec![],
    }
}

/// A region that is mapped in pieces no smaller than its backing.
pub(crate) fn region(id: u32, size: u64, backing: u8) -> Region {
    Region {
        id,
        name: format!("region-{id}"),
        size,
        backing,
        granule: backing,
        access: Access::ReadWrite,
        at: None,
        hints: vec![],
    }
}

pub(crate) fn at(at: u64, region: Region) -> Region {
    Region { at: Some(at), ..region }
}

pub(crate) fn demand(regions: Vec<Region>, growth: u64) -> Demand {
    let iova_choice = IovaChoice::Engine;
    Demand { regions, growth, device_mask: u64::MAX, iova_choice, hints: vec![] }
}

pub(crate) fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned() }
}

/// A created window whose table takes 8 bytes a page, twice.
pub(crate) fn candidate(slot: u8, page: u8, size: u64, levels: u8) -> Candidate {
    let start = u64::from(slot) * HIGH;
    let table = (size >> page) * 8;
    let (origin, charge) = (Origin::Created, 2 * table);
    Candidate { slot, start, page, size, levels, origin, table, charge }
}

/// Powers of two from 1 MiB to 128 TiB in both slots, of each page, with one to three levels.
pub(crate) fn candidates() -> Vec<Candidate> {
    let pages = [K4, K64, M2];
    let slots = [0, 1].into_iter().flat_map(|slot| pages.map(|page| (slot, page)));
    let sizes = slots.flat_map(|(slot, page)| (20..=47).map(move |shift| (slot, page, 1 << shift)));
    sizes
        .flat_map(|(slot, page, size)| [1, 2, 3].map(|levels| candidate(slot, page, size, levels)))
        .collect()
}

/// All regions in windows of one page.
pub(crate) fn window_question(demand: Demand, page: u8) -> WindowQuestion {
    WindowQuestion {
        facts: facts(),
        pages: vec![demand.all_with(page)],
        demand,
        candidates: candidates(),
        settings: vec![],
    }
}

/// 1 GiB in slot 1, of which half is not leased.
pub(crate) fn window() -> Window {
    Window {
        slot: 1,
        start: HIGH,
        size: GIB,
        page: K64,
        levels: 1,
        unleased: GIB / 2,
        hints: vec![],
    }
}

pub(crate) fn request(holder: &str, size: u64) -> LeaseRequest {
    let holder = holder.to_owned();
    let (access, tces, memory) = (Access::Read, 4, MIB);
    LeaseRequest { holder, size, access, tces, memory, duration: Some(5_000), hints: vec![] }
}

/// A lease until a minute from now.
pub(crate) fn lease(id: u64, holder: &str, size: u64) -> Lease {
    Lease {
        id,
        holder: holder.to_owned(),
        slot: 1,
        start: HIGH,
        size,
        terms: Terms {
            access: Access::Read,
            tces_max: 4,
            pinned_max: Some(MIB),
            edits_per_second: None,
            expires: Some(NOW + 60_000),
        },
        since: NOW - 1_000,
        tces: 0,
        pinned: MIB,
        hints: vec![],
    }
}

pub(crate) fn with_priority(priority: &str, lease: Lease) -> Lease {
    let (key, value) = ("priority".to_owned(), priority.to_owned());
    Lease { hints: vec![Hint { key, value }], ..lease }
}

pub(crate) fn admit(request: LeaseRequest, leases: Vec<Lease>) -> AdmitQuestion {
    AdmitQuestion { facts: facts(), window: window(), request, leases, now: NOW, settings: vec![] }
}

pub(crate) fn renew(lease: Lease, leases: Vec<Lease>) -> RenewQuestion {
    let duration = Some(5_000);
    let settings = vec![];
    RenewQuestion { facts: facts(), window: window(), lease, duration, leases, now: NOW, settings }
}

pub(crate) fn reclaim(request: LeaseRequest, wanted: u64, leases: Vec<Lease>) -> ReclaimQuestion {
    ReclaimQuestion {
        facts: facts(),
        window: window(),
        windows: vec![window()],
        shortage: Shortage::WindowSpace,
        wanted,
        request,
        leases,
        now: NOW,
        settings: vec![],
    }
}

/// A lease of slot 1 grows; every window in slot 0 could be.
pub(crate) fn grow(size: u64) -> GrowthQuestion {
    let could_be = |each: &Candidate| each.slot == 0 && each.page == K64 && each.size >= size;
    GrowthQuestion {
        facts: facts(),
        windows: vec![window()],
        lease: lease(5, "vm-7", size / 2),
        size,
        candidates: candidates().into_iter().filter(could_be).collect(),
        leases: vec![],
        now: NOW,
        settings: vec![],
    }
}
