//! The reference policy: the largest page, the smallest window, leases as long as there is room.
//!
//! - **Pages** ([`pages`]): one page size for all regions, the largest that each of them allows. More than one would
//!   take the container's second slot for a smaller table, and leave none for growth.
//! - **Windows** ([`windows`]): the smallest window that holds the regions and the growth expected, and whose table
//!   the locked-memory limit allows.
//! - **Leases** ([`leases`]): whoever comes first is served, with what was asked for, while there is room. Nothing that
//!   was granted is taken back.
//!
//! # Settings
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `page-max` | a page shift, such as `16` | No larger page, whatever the backing allows: the device sees at most one such page around a buffer. |
//!
//! Other keys are ignored.

#![forbid(unsafe_code)]

pub mod leases;
pub mod pages;
pub mod windows;

use tce_policy_sdk::{
    lease_policy::{
        AdmitQuestion, GroupLossQuestion, LeasePolicy, ReclaimQuestion, RenewQuestion, Terms,
    },
    page_selection::{PageQuestion, PageSelection},
    types::{LeaseId, PageChoice, Refusal},
    window_sizing::{WindowChoice, WindowQuestion, WindowSizing},
};

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct Tight;

tce_policy_sdk::export_policy!(Tight: PageSelection, WindowSizing, LeasePolicy);

impl PageSelection for Tight {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        pages::select(&question)
    }
}

impl WindowSizing for Tight {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        windows::size(&question)
    }
}

impl LeasePolicy for Tight {
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal> {
        leases::admit(&question)
    }

    fn renew(question: RenewQuestion) -> Result<Terms, Refusal> {
        Ok(leases::renew(&question))
    }

    fn reclaim(_question: ReclaimQuestion) -> Vec<LeaseId> {
        // A holder plans with what it was promised: whoever waits is refused.
        Vec::new()
    }

    fn group_leaves(_question: GroupLossQuestion) -> Vec<LeaseId> {
        // The engine makes the mappings of every lease again, so that none has to end.
        Vec::new()
    }
}
