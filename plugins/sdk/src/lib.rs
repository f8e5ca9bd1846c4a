//! What the author of a TCE policy needs: the types of the WIT package `tce:policy`, helpers on them, and one macro.
//!
//! A policy decides about DMA windows on POWER: which page size, which windows, who may use them. It is a WebAssembly
//! component that exports one or more of three interfaces. Here each interface is a trait without `self`, each question
//! of the interface one function of it:
//!
//! | to decide | implement | the question comes as |
//! |---|---|---|
//! | page sizes | [`page_selection::PageSelection`] | [`page_selection::PageQuestion`] |
//! | windows | [`window_sizing::WindowSizing`] | [`window_sizing::WindowQuestion`] |
//! | leases | [`lease_policy::LeasePolicy`] | [`lease_policy::AdmitQuestion`] and three more |
//!
//! A policy that has settings also implements [`settings::Settings`]. [`log`] notes lines for people.
//!
//! Implement what you care for on a unit struct and name it in [`export_policy!`]. That is a whole policy:
//!
//! ```
//! use tce_policy_sdk::{
//!     page_selection::{PageQuestion, PageSelection},
//!     types::{PageChoice, Refusal, RefusalReason},
//! };
//!
//! /// Pages of 64 KiB for everybody, or none at all.
//! struct Always64K;
//!
//! impl PageSelection for Always64K {
//!     fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
//!         const K64: u8 = 16;
//!         match question.demand.regions.iter().find(|region| !region.allows(K64)) {
//!             None => Ok(vec![question.demand.all_with(K64)]),
//!             Some(region) => Err(Refusal::new(
//!                 RefusalReason::PageSize,
//!                 format!("region {} does not allow pages of 64 KiB", region.id),
//!             )),
//!         }
//!     }
//! }
//!
//! tce_policy_sdk::export_policy!(Always64K: PageSelection);
//! # fn main() {}
//! ```
//!
//! Build it as a `cdylib` for `wasm32-unknown-unknown` and make a component of the result (`wasm-tools component new`,
//! or the `wit-component` crate); no WASI adapter is needed. On any other target [`export_policy!`] expands to nothing,
//! so the same crate is an ordinary library whose functions an ordinary `#[test]` calls.
//!
//! # The rules
//!
//! - A function is pure: the same question has the same answer. There is no clock, no file, no randomness, and no state
//!   from one call to the next; each call runs in a fresh instance. Everything there is to know is in the question.
//! - An answer is advice: the engine checks it. One that breaks a rule of the engine is dropped, and the built-in policy
//!   answers instead. What the engine accepts stands in the documentation of each function.
//! - To say no, return [`types::Refusal`]. To panic is to be broken, which is counted against the policy.
//! - Settings and hints with keys you do not know are to be ignored.
//!
//! # Features
//!
//! - `serde`: all types can be serialized and deserialized. For hosts and tools; a component does not need it.

// The export macros name this crate as a policy does, `::tce_policy_sdk`, in here too.
extern crate self as tce_policy_sdk;

#[doc(hidden)]
#[allow(unsafe_code, missing_docs, reason = "generated")]
pub mod bindings;
mod demand;
mod export;
mod facts;
mod holes;
pub mod log;
mod lookup;
mod pick;
mod policy;
pub mod reading;
pub mod settings;
mod size;
pub mod testing;
pub mod text;
mod windows;

pub use pick::expiry;
#[doc(hidden)]
pub use policy::Exported;
pub use size::{Size, page_bytes};
#[doc(hidden)]
pub use wit_bindgen::rt;

/// The words that all questions and answers share.
pub mod types {
    pub use crate::bindings::page_selector::tce::policy::types::{
        Access, Bytes, ContainerFacts, Demand, Duration, Hint, Instant, Iova, IovaChoice, Lease,
        LeaseId, LeaseRequest, LockedMemory, PageChoice, PageShift, Platform, Refusal,
        RefusalReason, Region, RegionId, ReservedRange, Setting, Slot, SlotFacts, SlotUse, Terms,
        Window,
    };
}

/// Which page size shall a window have? Asked first.
pub mod page_selection {
    pub use crate::{
        bindings::page_selector::exports::tce::policy::page_selection::PageQuestion,
        policy::PageSelection,
    };
}

/// Which windows shall there be? Asked second.
pub mod window_sizing {
    pub use crate::{
        bindings::window_sizer::exports::tce::policy::window_sizing::{
            Candidate, GrowthQuestion, Origin, WindowChoice, WindowQuestion,
        },
        policy::WindowSizing,
    };
}

/// Who may use a window, how much of it, for how long? Asked for each lease.
pub mod lease_policy {
    pub use crate::{
        bindings::lease_keeper::exports::tce::policy::lease_policy::{
            AdmitQuestion, GroupLossQuestion, ReclaimQuestion, RenewQuestion, Shortage,
        },
        policy::LeasePolicy,
    };
}
