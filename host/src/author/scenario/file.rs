//! A scenario as it stands in a file. What is absent here gets its value in `resolve`.

use serde::Deserialize;
use tce_policy_sdk::text;

use crate::policy::wit::{
    Access, Candidate, Hint, IovaChoice, LockedMemory, PageChoice, Platform, ReservedRange,
    Setting, Shortage, SlotFacts, Terms,
};

use super::{
    expect::ExpectFile,
    lists::{Named, entries, named},
};

/// A scenario as it stands in a file: one question, and what is expected.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ScenarioFile {
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "text::maybe_number")]
    pub(super) fuel_max: Option<u64>,
    pub(super) expect: ExpectFile,
    pub(super) select_pages: Option<PageFile>,
    pub(super) size_windows: Option<WindowsFile>,
    pub(super) grow: Option<GrowFile>,
    pub(super) admit: Option<AdmitFile>,
    pub(super) renew: Option<RenewFile>,
    pub(super) reclaim: Option<ReclaimFile>,
    pub(super) group_leaves: Option<GroupLeavesFile>,
}

/// Facts: each field of its own, or those of a simulated machine, some of them changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct FactsFile {
    pub(super) machine: Option<String>,
    pub(super) platform: Option<Platform>,
    #[serde(deserialize_with = "maybe_page")]
    pub(super) system_page: Option<u8>,
    pub(super) page_shifts: Option<Pages>,
    pub(super) slots: Option<Vec<SlotFacts>>,
    pub(super) levels_max: Option<u8>,
    pub(super) reserved_ranges: Option<Vec<ReservedRange>>,
    pub(super) locked_memory: Option<LockedMemory>,
    pub(super) groups: Option<Vec<u32>>,
    #[serde(deserialize_with = "entries")]
    pub(super) hints: Vec<Hint>,
}

impl Named for FactsFile {
    const WHAT: &'static str = "the name of a simulated machine, or a table of facts";

    fn named(name: &str) -> Self {
        Self { machine: Some(name.to_owned()), ..Self::default() }
    }
}

/// A list of pages.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pages(#[serde(deserialize_with = "text::pages")] pub(super) Vec<u8>);

/// A page.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Page(#[serde(deserialize_with = "text::page")] u8);

fn maybe_page<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u8>, D::Error> {
    Ok(Option::<Page>::deserialize(from)?.map(|page| page.0))
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RegionFile {
    pub(super) id: Option<u32>,
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "text::number")]
    pub(super) size: u64,
    #[serde(default, deserialize_with = "maybe_page")]
    pub(super) backing: Option<u8>,
    #[serde(default, deserialize_with = "maybe_page")]
    pub(super) granule: Option<u8>,
    pub(super) access: Option<Access>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) at: Option<u64>,
    #[serde(default, deserialize_with = "entries")]
    pub(super) hints: Vec<Hint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct DemandFile {
    pub(super) regions: Vec<RegionFile>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) growth: Option<u64>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) device_mask: Option<u64>,
    pub(super) iova_choice: Option<IovaChoice>,
    #[serde(default, deserialize_with = "entries")]
    pub(super) hints: Vec<Hint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WindowFile {
    pub(super) slot: Option<u8>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) start: Option<u64>,
    #[serde(deserialize_with = "text::number")]
    pub(super) size: u64,
    #[serde(deserialize_with = "text::page")]
    pub(super) page: u8,
    pub(super) levels: Option<u8>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) unleased: Option<u64>,
    #[serde(default, deserialize_with = "entries")]
    pub(super) hints: Vec<Hint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RequestFile {
    pub(super) holder: Option<String>,
    #[serde(deserialize_with = "text::number")]
    pub(super) size: u64,
    pub(super) access: Option<Access>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) tces: Option<u64>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) memory: Option<u64>,
    pub(super) duration: Option<u64>,
    #[serde(default, deserialize_with = "entries")]
    pub(super) hints: Vec<Hint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LeaseFile {
    pub(super) id: Option<u64>,
    pub(super) holder: Option<String>,
    pub(super) slot: Option<u8>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) start: Option<u64>,
    #[serde(deserialize_with = "text::number")]
    pub(super) size: u64,
    pub(super) terms: Option<Terms>,
    pub(super) since: Option<u64>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) tces: Option<u64>,
    #[serde(default, deserialize_with = "text::maybe_number")]
    pub(super) pinned: Option<u64>,
    #[serde(default, deserialize_with = "entries")]
    pub(super) hints: Vec<Hint>,
}

macro_rules! question_files {
    ($($name:ident { $($field:ident: $of:ty,)* })+) => {
        $(
            #[derive(Clone, Debug, Deserialize)]
            #[serde(deny_unknown_fields, rename_all = "kebab-case")]
            pub(super) struct $name {
                #[serde(deserialize_with = "named")]
                pub(super) facts: FactsFile,
                $(pub(super) $field: $of,)*
                #[serde(default, deserialize_with = "entries")]
                pub(super) settings: Vec<Setting>,
            }
        )+
    };
}

question_files! {
    PageFile {
        demand: DemandFile,
    }
    WindowsFile {
        demand: DemandFile,
        pages: Option<Vec<PageChoice>>,
        candidates: Option<Vec<Candidate>>,
    }
    GrowFile {
        windows: Vec<WindowFile>,
        lease: LeaseFile,
        size: Number,
        candidates: Option<Vec<Candidate>>,
        leases: Option<Vec<LeaseFile>>,
        now: Option<u64>,
    }
    AdmitFile {
        window: WindowFile,
        request: RequestFile,
        leases: Option<Vec<LeaseFile>>,
        now: Option<u64>,
    }
    RenewFile {
        window: WindowFile,
        lease: LeaseFile,
        duration: Option<u64>,
        leases: Option<Vec<LeaseFile>>,
        now: Option<u64>,
    }
    ReclaimFile {
        window: Option<WindowFile>,
        windows: Vec<WindowFile>,
        shortage: Shortage,
        wanted: Number,
        request: RequestFile,
        leases: Vec<LeaseFile>,
        now: Option<u64>,
    }
    GroupLeavesFile {
        group: u32,
        windows: Vec<WindowFile>,
        leases: Vec<LeaseFile>,
        now: Option<u64>,
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Number(#[serde(deserialize_with = "text::number")] pub(super) u64);
