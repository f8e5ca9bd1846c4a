//! What each way to misbehave does.

use std::hint::black_box;

use tce_policy_sdk::{
    types::{
        Access, ContainerFacts, Lease, LeaseId, PageChoice, Refusal, RefusalReason, RegionId, Terms,
    },
    window_sizing::{Candidate, Origin, WindowChoice},
};

use crate::behaviour::Behaviour;

/// Entries of a huge list: more than an answer may have, and few enough to be made within the limits.
const HUGE_LIST: usize = 40_000;
/// Bytes of a huge refusal.
const HUGE_REFUSAL: usize = 8 << 20;
/// Characters of a long refusal.
const LONG_REFUSAL: usize = 2_000;
/// A region, lease and so on that nobody has heard of.
const UNKNOWN: u32 = 4_000_000_007;

/// What happens before there is an answer.
pub(crate) fn before(behaviour: Behaviour) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(RefusalReason::Other, detail));
    match behaviour {
        Behaviour::Refuse => refuse("the setting behaviour says to refuse".to_owned()),
        Behaviour::HugeRefusal => refuse("no".repeat(HUGE_REFUSAL / 2)),
        Behaviour::LongRefusal => refuse("\u{20ac}".repeat(LONG_REFUSAL)),
        _ => {
            ruin(behaviour);
            Ok(())
        }
    }
}

/// An answer to `select-pages`, spoilt.
pub(crate) fn pages(behaviour: Behaviour, facts: &ContainerFacts, choices: &mut Vec<PageChoice>) {
    match behaviour {
        Behaviour::Empty => choices.clear(),
        Behaviour::UnknownPage => choices.iter_mut().for_each(|choice| choice.page = 63),
        Behaviour::LargestPage => {
            let largest = facts.page_shifts.iter().copied().max().unwrap_or_default();
            choices.iter_mut().for_each(|choice| choice.page = largest);
        }
        Behaviour::HugeList => *choices = vec![PageChoice { page: 12, regions: vec![] }; HUGE_LIST],
        _ => choices.iter_mut().for_each(|choice| regions(behaviour, &mut choice.regions)),
    }
}

/// An answer to `size-windows`, spoilt.
pub(crate) fn windows(behaviour: Behaviour, choices: &mut Vec<WindowChoice>) {
    match behaviour {
        Behaviour::Empty => choices.clear(),
        Behaviour::UnknownPage => choices.iter_mut().for_each(|choice| choice.page = 63),
        Behaviour::NoCandidate => choices.iter_mut().for_each(|choice| choice.size += 1),
        Behaviour::WrongOrigin => choices.iter_mut().for_each(|choice| {
            choice.origin = match choice.origin {
                Origin::Created => Origin::DefaultWindow,
                Origin::DefaultWindow => Origin::Created,
            };
        }),
        Behaviour::SameSlot => choices.extend(choices.clone()),
        Behaviour::HugeList => {
            let window = WindowChoice {
                slot: 0,
                page: 12,
                size: 0,
                levels: 1,
                origin: Origin::Created,
                regions: vec![],
            };
            *choices = vec![window; HUGE_LIST];
        }
        _ => choices.iter_mut().for_each(|choice| regions(behaviour, &mut choice.regions)),
    }
}

/// The window that a lease grows into, spoilt.
pub(crate) fn growth(behaviour: Behaviour, candidate: &mut Candidate) {
    match behaviour {
        Behaviour::NoCandidate => candidate.size += 1,
        Behaviour::UnknownPage => candidate.page = 63,
        Behaviour::WrongOrigin => candidate.origin = Origin::DefaultWindow,
        // The right window, with a lie about what it costs.
        Behaviour::Empty => candidate.charge = 0,
        _ => {}
    }
}

fn regions(behaviour: Behaviour, ids: &mut Vec<RegionId>) {
    match behaviour {
        Behaviour::RegionTwice => ids.extend(ids.first().copied()),
        Behaviour::RegionMissing => drop(ids.pop()),
        Behaviour::UnknownRegion => ids.push(UNKNOWN),
        _ => {}
    }
}

/// The terms of a lease, spoilt.
pub(crate) fn terms(behaviour: Behaviour, terms: &mut Terms) {
    match behaviour {
        Behaviour::TooMuch => {
            *terms = Terms {
                access: Access::ReadWrite,
                tces_max: u64::MAX,
                pinned_max: Some(u64::MAX),
                edits_per_second: Some(u32::MAX),
                expires: None,
            };
        }
        Behaviour::Nothing => {
            *terms = Terms {
                tces_max: 0,
                pinned_max: Some(0),
                edits_per_second: Some(0),
                expires: Some(0),
                ..*terms
            }
        }
        _ => {}
    }
}

/// The leases to take back.
pub(crate) fn leases(behaviour: Behaviour, there: &[Lease]) -> Vec<LeaseId> {
    ruin(behaviour);
    match behaviour {
        Behaviour::TakeAll => there.iter().map(|lease| lease.id).collect(),
        Behaviour::UnknownLease => vec![UNKNOWN.into(); 2],
        Behaviour::HugeList => (0..).take(HUGE_LIST).collect(),
        _ => Vec::new(),
    }
}

/// The ways not to answer at all.
fn ruin(behaviour: Behaviour) {
    match behaviour {
        Behaviour::Trap => panic!("the setting behaviour says to trap"),
        Behaviour::Loop => loop {
            black_box(0);
        },
        Behaviour::EatMemory => {
            let mut eaten = Vec::new();
            loop {
                // Without touching it, which would burn the fuel first.
                eaten.push(black_box(Vec::<u8>::with_capacity(1 << 20)));
            }
        }
        Behaviour::Recurse => drop(black_box(recurse(1))),
        _ => {}
    }
}

/// Not in tail position, so that each call needs a frame. The end is never reached.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        return 0;
    }
    black_box(recurse(black_box(depth + 1))).wrapping_mul(3)
}
