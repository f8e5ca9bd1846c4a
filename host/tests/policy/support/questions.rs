//! One ordinary question of each kind.

use tce_host::policy::{
    Function, Question,
    wit::{
        Access, AdmitQuestion, Candidate, ContainerFacts, Demand, GroupLossQuestion,
        GrowthQuestion, IovaChoice, Lease, LeaseRequest, LockedMemory, Origin, PageChoice,
        PageQuestion, Platform, ReclaimQuestion, Region, RenewQuestion, ReservedRange, Setting,
        Shortage, SlotFacts, SlotUse, Terms, Window, WindowQuestion,
    },
};

const NOW: u64 = 1_700_000_000_000;

/// All of them, without settings.
pub(crate) fn ordinary() -> [Question; Function::ALL.len()] {
    [
        Question::SelectPages(page_question(vec![])),
        Question::SizeWindows(window_question(vec![])),
        Question::Grow(growth_question(vec![])),
        Question::Admit(admit_question(vec![])),
        Question::Renew(renew_question(vec![])),
        Question::Reclaim(reclaim_question(vec![])),
        Question::GroupLeaves(group_loss_question(vec![])),
    ]
}

/// The settings that make `hostile` misbehave.
pub(crate) fn misbehave(how: &str) -> Vec<Setting> {
    vec![Setting { key: "behaviour".to_owned(), value: how.to_owned() }]
}

pub(crate) fn facts() -> ContainerFacts {
    ContainerFacts {
        platform: Platform::Powernv,
        system_page: 16,
        page_shifts: vec![12, 16, 21, 30],
        slots: vec![
            SlotFacts { slot: 0, start: 0, holds: SlotUse::DefaultWindow },
            SlotFacts { slot: 1, start: 1 << 59, holds: SlotUse::Free },
        ],
        levels_max: 5,
        reserved_ranges: vec![ReservedRange {
            start: 2 << 30,
            size: 2 << 30,
            what: "mmio-32bit".to_owned(),
        }],
        locked_memory: LockedMemory { limit: Some(64 << 20), charged: 8 << 20 },
        groups: vec![1, 4],
        hints: vec![],
    }
}

pub(crate) fn demand() -> Demand {
    let region = |id, size| Region {
        id,
        name: format!("region-{id}"),
        size,
        backing: 16,
        granule: 16,
        access: Access::ReadWrite,
        at: None,
        hints: vec![],
    };
    Demand {
        regions: vec![region(1, 1 << 30), region(2, 1 << 20)],
        growth: 1 << 20,
        device_mask: u64::MAX,
        iova_choice: IovaChoice::Engine,
        hints: vec![],
    }
}

pub(crate) fn page_question(settings: Vec<Setting>) -> PageQuestion {
    PageQuestion { facts: facts(), demand: demand(), settings }
}

/// With windows of all sizes from 1 MiB to 1 TiB in both slots.
pub(crate) fn window_question(settings: Vec<Setting>) -> WindowQuestion {
    let candidate = |slot: u8, shift: u32| Candidate {
        slot,
        start: u64::from(slot) << 59,
        page: 16,
        size: 1 << shift,
        levels: 1,
        origin: Origin::Created,
        table: 8 << (shift - 16),
        charge: 16 << (shift - 16),
    };
    WindowQuestion {
        facts: facts(),
        demand: demand(),
        pages: vec![PageChoice { page: 16, regions: vec![1, 2] }],
        candidates: [0, 1]
            .into_iter()
            .flat_map(|slot| (20..=40).map(move |shift| candidate(slot, shift)))
            .collect(),
        settings,
    }
}

pub(crate) fn lease() -> Lease {
    Lease {
        id: 5,
        holder: "vm-7".to_owned(),
        slot: 1,
        start: 1 << 59,
        size: 1 << 20,
        terms: Terms {
            access: Access::Read,
            tces_max: 16,
            pinned_max: None,
            edits_per_second: None,
            expires: Some(NOW + 60_000),
        },
        since: NOW - 1_000,
        tces: 3,
        pinned: 0,
        hints: vec![],
    }
}

pub(crate) fn window() -> Window {
    Window {
        slot: 1,
        start: 1 << 59,
        size: 2 << 30,
        page: 16,
        levels: 1,
        unleased: 1 << 30,
        hints: vec![],
    }
}

fn request() -> LeaseRequest {
    LeaseRequest {
        holder: "vm-8".to_owned(),
        size: 1 << 20,
        access: Access::ReadWrite,
        tces: 8,
        memory: 1 << 20,
        duration: Some(60_000),
        hints: vec![],
    }
}

/// With windows of all sizes from 1 GiB in slot 0.
pub(crate) fn growth_question(settings: Vec<Setting>) -> GrowthQuestion {
    let candidates = window_question(vec![]).candidates;
    let candidates = candidates.into_iter().filter(|each| each.slot == 0 && each.size >= 1 << 30);
    GrowthQuestion {
        facts: facts(),
        windows: vec![window()],
        lease: lease(),
        size: 1 << 30,
        candidates: candidates.collect(),
        leases: vec![lease()],
        now: NOW,
        settings,
    }
}

pub(crate) fn admit_question(settings: Vec<Setting>) -> AdmitQuestion {
    AdmitQuestion {
        facts: facts(),
        window: window(),
        request: request(),
        leases: vec![lease()],
        now: NOW,
        settings,
    }
}

pub(crate) fn renew_question(settings: Vec<Setting>) -> RenewQuestion {
    RenewQuestion {
        facts: facts(),
        window: window(),
        lease: lease(),
        duration: Some(60_000),
        leases: vec![lease()],
        now: NOW,
        settings,
    }
}

pub(crate) fn reclaim_question(settings: Vec<Setting>) -> ReclaimQuestion {
    ReclaimQuestion {
        facts: facts(),
        window: window(),
        windows: vec![window()],
        request: request(),
        shortage: Shortage::WindowSpace,
        wanted: 1 << 20,
        leases: vec![lease()],
        now: NOW,
        settings,
    }
}

pub(crate) fn group_loss_question(settings: Vec<Setting>) -> GroupLossQuestion {
    GroupLossQuestion {
        facts: facts(),
        group: 4,
        windows: vec![window()],
        leases: vec![lease()],
        now: NOW,
        settings,
    }
}
