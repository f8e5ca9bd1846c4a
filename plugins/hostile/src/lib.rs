//! A policy that misbehaves as its settings say, for tests of the host.
//!
//! The setting `behaviour` chooses how; without it, or with a word that is none of [`Behaviour`]'s, everything is
//! answered as `tight` does. The setting `only` limits it to one function, by its name in the WIT: `select-pages`.

#![forbid(unsafe_code)]

mod behaviour;
mod harm;
// The sources, not the crate: linked into this component, the crate would bring its own exports.
#[path = "../../tight/src/leases.rs"]
pub mod leases;
#[path = "../../tight/src/pages.rs"]
pub mod pages;
#[path = "../../tight/src/windows.rs"]
pub mod windows;

use tce_policy_sdk::{
    lease_policy::{AdmitQuestion, GroupLossQuestion, LeasePolicy, ReclaimQuestion, RenewQuestion},
    page_selection::{PageQuestion, PageSelection},
    types::{LeaseId, PageChoice, Refusal, Terms},
    window_sizing::{Candidate, GrowthQuestion, WindowChoice, WindowQuestion, WindowSizing},
};

use crate::behaviour::Behaviour;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct Hostile;

tce_policy_sdk::export_policy!(Hostile: PageSelection, WindowSizing, LeasePolicy);

/// What is spoilt: the answers of `tight`.
struct Honest;

impl WindowSizing for Honest {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        windows::size(&question)
    }
}

impl LeasePolicy for Honest {
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal> {
        leases::admit(&question)
    }
}

impl PageSelection for Hostile {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        let behaviour = Behaviour::of(&question.settings, "select-pages");
        harm::before(behaviour)?;
        let mut choices = pages::select(&question)?;
        harm::pages(behaviour, &question.facts, &mut choices);
        Ok(choices)
    }
}

impl WindowSizing for Hostile {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        let behaviour = Behaviour::of(&question.settings, "size-windows");
        harm::before(behaviour)?;
        let mut choices = Honest::size_windows(question)?;
        harm::windows(behaviour, &mut choices);
        Ok(choices)
    }

    fn grow(question: GrowthQuestion) -> Result<Candidate, Refusal> {
        let behaviour = Behaviour::of(&question.settings, "grow");
        harm::before(behaviour)?;
        let mut candidate = Honest::grow(question)?;
        harm::growth(behaviour, &mut candidate);
        Ok(candidate)
    }
}

impl LeasePolicy for Hostile {
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal> {
        let behaviour = Behaviour::of(&question.settings, "admit");
        harm::before(behaviour)?;
        let mut terms = Honest::admit(question)?;
        harm::terms(behaviour, &mut terms);
        Ok(terms)
    }

    fn renew(question: RenewQuestion) -> Result<Terms, Refusal> {
        let behaviour = Behaviour::of(&question.settings, "renew");
        harm::before(behaviour)?;
        let mut terms = Honest::renew(question)?;
        harm::terms(behaviour, &mut terms);
        Ok(terms)
    }

    fn reclaim(question: ReclaimQuestion) -> Vec<LeaseId> {
        harm::leases(Behaviour::of(&question.settings, "reclaim"), &question.leases)
    }

    fn group_leaves(question: GroupLossQuestion) -> Vec<LeaseId> {
        harm::leases(Behaviour::of(&question.settings, "group-leaves"), &question.leases)
    }
}
