//! The questions and answers of `tce:policy` as the host has them, side by side.
//!
//! Their serde form is the fields by name; it is what journals and reports hold.

#[allow(missing_docs, reason = "generated, with the documentation that the WIT has")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub(super) use bindings::exports::tce::policy::{lease_policy, page_selection, window_sizing};
pub use bindings::{
    exports::tce::policy::{
        lease_policy::{
            AdmitQuestion, GroupLossQuestion, Lease, LeaseRequest, ReclaimQuestion, RenewQuestion,
            Shortage, Terms, WindowFacts,
        },
        page_selection::PageQuestion,
        window_sizing::{Candidate, Origin, WindowChoice, WindowQuestion},
    },
    tce::policy::types::{
        Access, Bytes, ContainerFacts, Demand, Duration, Hint, Instant, Iova, IovaChoice, LeaseId,
        LockedMemory, PageChoice, PageShift, Platform, Refusal, RefusalReason, Region, RegionId,
        ReservedRange, Setting, Slot, SlotFacts, SlotUse,
    },
};
