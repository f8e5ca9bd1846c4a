//! A container as powernv has it, and short ways to make questions about it.

use tce_policy_sdk::types::{
    Access, ContainerFacts, Demand, IovaChoice, LockedMemory, Platform, Region, ReservedRange,
    Setting, SlotFacts, SlotUse,
};

pub(crate) const K4: u8 = 12;
pub(crate) const K64: u8 = 16;
pub(crate) const M2: u8 = 21;
pub(crate) const G1: u8 = 30;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

pub(crate) fn facts() -> ContainerFacts {
    ContainerFacts {
        platform: Platform::Powernv,
        system_page: K64,
        page_shifts: vec![K4, K64, M2, G1],
        slots: vec![
            SlotFacts { slot: 0, start: 0, holds: SlotUse::DefaultWindow },
            SlotFacts { slot: 1, start: 1 << 59, holds: SlotUse::Free },
        ],
        levels_max: 5,
        reserved_ranges: vec![ReservedRange {
            start: 2 * GIB,
            size: 2 * GIB,
            what: "mmio-32bit".to_owned(),
        }],
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

pub(crate) fn demand(regions: Vec<Region>, growth: u64) -> Demand {
    Demand {
        regions,
        growth,
        device_mask: u64::MAX,
        iova_choice: IovaChoice::Engine,
        hints: vec![],
    }
}

pub(crate) fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned() }
}
