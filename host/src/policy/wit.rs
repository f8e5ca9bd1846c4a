//! The records of `tce:policy` as the host has them.
//!
//! Their serde form has the WIT's names (`page-shifts`, `read-write`); it is what journals, scenarios and reports hold.

#[allow(missing_docs, reason = "generated, with the documentation that the WIT has")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        additional_derives: [PartialEq, tce_policy_names::WitNames],
    });
}

pub use bindings::{
    exports::tce::policy::{
        lease_policy::{
            AdmitQuestion, GroupLossQuestion, ReclaimQuestion, RenewQuestion, Shortage,
        },
        page_selection::PageQuestion,
        settings::{SettingDescription, SettingProblem},
        window_sizing::{Candidate, GrowthQuestion, Origin, WindowChoice, WindowQuestion},
    },
    tce::policy::{
        log::Level,
        types::{
            Access, Bytes, ContainerFacts, Demand, Duration, Hint, Instant, Iova, IovaChoice,
            Lease, LeaseId, LeaseRequest, LockedMemory, PageChoice, PageShift, Platform, Refusal,
            RefusalReason, Region, RegionId, ReservedRange, Setting, Slot, SlotFacts, SlotUse,
            Terms, Window,
        },
    },
};
