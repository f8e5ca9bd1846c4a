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
//! | `page-max` | a page, such as `64K`, or its shift, such as `16` | No larger page, whatever the backing allows: the device sees at most one such page around a buffer. |
//!
//! Growth ([`WindowSizing::grow`]) and all of leases but their beginning are as the SDK has them.

#![forbid(unsafe_code)]

pub mod leases;
pub mod pages;
pub mod windows;

use tce_policy_sdk::{
    lease_policy::{AdmitQuestion, LeasePolicy},
    page_selection::{PageQuestion, PageSelection},
    settings::{SettingDescription, SettingProblem, Settings},
    types::{PageChoice, Refusal, Setting, Terms},
    window_sizing::{WindowChoice, WindowQuestion, WindowSizing},
};

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct Tight;

tce_policy_sdk::export_policy!(Tight: PageSelection, WindowSizing, LeasePolicy, Settings);

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
    // The rest is as the SDK has it. A lease goes on as it is. Nothing is taken back: a holder plans with what it was
    // promised. When a group leaves, none has to end: the engine makes the mappings of every lease again.
}

impl Settings for Tight {
    fn describe_settings() -> Vec<SettingDescription> {
        pages::settings()
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        pages::check_settings(settings)
    }
}
