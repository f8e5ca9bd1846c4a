//! Whose leases go when something is short, and in which order.

use std::cmp::Ordering;

use tce_policy_sdk::{
    lease_policy::{ReclaimQuestion, Shortage},
    types::{Bytes, Instant, Lease, LeaseId},
};

use crate::{Holdings, rules::Rules};

pub(crate) fn order(question: &ReclaimQuestion, rules: &Rules) -> Vec<LeaseId> {
    let request = &question.request;
    let asks = rules.priority(&request.holder, request.hint(crate::rules::PRIORITY));
    let of = |lease: &Lease| rules.priority(&lease.holder, lease.hint(crate::rules::PRIORITY));
    let mut leases: Vec<&Lease> = question
        .leases
        .iter()
        .filter(|lease| lease.holder != request.holder && won(lease, question) > 0)
        .collect();
    leases.sort_by_key(|lease| (of(lease), end(lease), lease.since, lease.id));
    let mut taken: Vec<&Lease> = Vec::new();
    for lease in leases {
        let goes = match of(lease).cmp(&asks) {
            Ordering::Less => true,
            Ordering::Equal => is_beyond_its_share(lease, &taken, question, rules),
            Ordering::Greater => false,
        };
        if goes {
            taken.push(lease);
        }
    }
    let all = taken.iter().map(|lease| won(lease, question)).fold(0, Bytes::saturating_add);
    if all < question.wanted {
        return Vec::new(); // Leases would end, and nobody would be helped.
    }
    taken.into_iter().map(|lease| lease.id).collect()
}

/// What its end brings. Room in another window helps nobody who waits for this one.
fn won(lease: &Lease, question: &ReclaimQuestion) -> Bytes {
    match question.shortage {
        Shortage::WindowSpace if lease.slot == question.window.slot => lease.size,
        Shortage::WindowSpace => 0,
        Shortage::LockedMemory => lease.pinned,
    }
}

/// When it ends by itself.
fn end(lease: &Lease) -> Instant {
    lease.terms.expires.unwrap_or(Instant::MAX)
}

/// Whether its holder has more than its share of the window, without what is taken already.
fn is_beyond_its_share(
    lease: &Lease,
    taken: &[&Lease],
    question: &ReclaimQuestion,
    rules: &Rules,
) -> bool {
    let Some(window) = question.windows.iter().find(|window| window.slot == lease.slot) else {
        return false;
    };
    let has = Holdings::of(&lease.holder, &question.leases, question.now).in_slot(lease.slot);
    let gone = taken.iter().filter(|it| it.holder == lease.holder && it.slot == lease.slot);
    let gone = gone.map(|it| it.size).fold(0, Bytes::saturating_add);
    has.saturating_sub(gone) > rules.quota(&lease.holder, window.size)
}
