//! The traits a policy implements. Those of an interface with several questions answer most of them by themselves, so
//! that a policy is no more than what it wants to be different.

use std::marker::PhantomData;

use crate::{
    bindings::{
        has_settings::exports::tce::policy::settings as settings_export,
        lease_keeper::exports::tce::policy::lease_policy as leases_export,
        page_selector::exports::tce::policy::page_selection as pages_export,
        window_sizer::exports::tce::policy::window_sizing as windows_export,
    },
    expiry,
    lease_policy::{AdmitQuestion, GroupLossQuestion, ReclaimQuestion, RenewQuestion},
    page_selection::PageQuestion,
    settings::{SettingDescription, SettingProblem},
    types::{LeaseId, PageChoice, Refusal, RefusalReason, Setting, Terms},
    window_sizing::{Candidate, GrowthQuestion, WindowChoice, WindowQuestion},
};

/// Which page size shall a window have? Asked first.
pub trait PageSelection {
    /// Sorts the demand's regions by page size, in one choice or two.
    ///
    /// The engine accepts an answer in which every region stands exactly once, each page is one that
    /// `facts.page_shifts` lists, and no larger than the backing and the granule of its regions.
    ///
    /// # Errors
    /// The policy's no.
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal>;
}

/// Which windows shall there be? Asked second.
pub trait WindowSizing {
    /// Lays out the container's windows: one or two of the candidates, each with its regions.
    ///
    /// # Errors
    /// The policy's no.
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal>;

    /// Chooses the window that a lease grows into. Without an implementation: the one with the smallest charge that the
    /// locked-memory limit allows, of those the smallest.
    ///
    /// # Errors
    /// The policy's no.
    fn grow(question: GrowthQuestion) -> Result<Candidate, Refusal> {
        let left = question.facts.locked_memory.left();
        let affordable = question.candidates.into_iter().filter(|each| each.charge <= left);
        affordable.min_by_key(|each| (each.charge, each.size, each.levels)).ok_or_else(|| {
            Refusal::new(
                RefusalReason::Memory,
                "no window for the growth fits the locked-memory limit",
            )
        })
    }
}

/// Who may use a window, how much of it, for how long? Asked for each lease.
pub trait LeasePolicy {
    /// Shall this lease be, and how?
    ///
    /// # Errors
    /// The policy's no.
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal>;

    /// Shall this lease go on, and how? Without an implementation: as it is, for the time asked.
    ///
    /// # Errors
    /// The policy's no: the lease ends when it would have.
    fn renew(question: RenewQuestion) -> Result<Terms, Refusal> {
        let expires = expiry(question.now, question.duration, None);
        Ok(Terms { expires, ..question.lease.terms })
    }

    /// Which leases shall be taken back for somebody who waits, in this order? Without an implementation: none.
    fn reclaim(_question: ReclaimQuestion) -> Vec<LeaseId> {
        Vec::new()
    }

    /// Which leases shall end with a group that leaves? Without an implementation: none; the engine makes the mappings
    /// of all of them again.
    fn group_leaves(_question: GroupLossQuestion) -> Vec<LeaseId> {
        Vec::new()
    }
}

/// What an operator can set. Asked once, when the host loads the policy.
pub trait Settings {
    /// Every setting there is.
    fn describe_settings() -> Vec<SettingDescription>;

    /// What is wrong with the values of these settings. What [`Settings::describe_settings`] does not list is reported
    /// without asking here.
    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem>;
}

/// A policy as wit-bindgen exports it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Exported<P>(PhantomData<P>);

impl<P: PageSelection> pages_export::Guest for Exported<P> {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        P::select_pages(question)
    }
}

impl<P: WindowSizing> windows_export::Guest for Exported<P> {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        P::size_windows(question)
    }

    fn grow(question: GrowthQuestion) -> Result<Candidate, Refusal> {
        P::grow(question)
    }
}

impl<P: LeasePolicy> leases_export::Guest for Exported<P> {
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal> {
        P::admit(question)
    }

    fn renew(question: RenewQuestion) -> Result<Terms, Refusal> {
        P::renew(question)
    }

    fn reclaim(question: ReclaimQuestion) -> Vec<LeaseId> {
        P::reclaim(question)
    }

    fn group_leaves(question: GroupLossQuestion) -> Vec<LeaseId> {
        P::group_leaves(question)
    }
}

impl<P: Settings> settings_export::Guest for Exported<P> {
    fn describe_settings() -> Vec<SettingDescription> {
        P::describe_settings()
    }

    fn validate_settings(settings: Vec<Setting>) -> Vec<SettingProblem> {
        crate::settings::problems::<P>(&settings)
    }
}
