//! Lies about leases.

use fastrand::Rng;
use tce_host::policy::{
    Answer,
    wit::{AdmitQuestion, Lease, RenewQuestion, Terms},
};

use super::{Lie, UNKNOWN, widened};
use crate::liar::Truth;

/// Spoils an answer to `admit`.
pub(super) fn admitted(question: &AdmitQuestion, mut terms: Terms, random: &mut Rng) -> Lie {
    let pages = question.request.size >> question.window.page;
    if let Some(access) = widened(question.request.access).filter(|_| random.u8(..4) == 0) {
        terms.access = access;
        return (Truth::Lie, "more access", Answer::Terms(terms));
    }
    spoilt(terms, pages, question.now, random)
}

/// Yes to everything, whether there is room or not.
pub(super) fn generous(question: &AdmitQuestion) -> Lie {
    let terms = Terms {
        access: question.request.access,
        tces_max: question.request.size >> question.window.page,
        pinned_max: None,
        edits_per_second: None,
        expires: None,
    };
    (Truth::Perhaps, "yes to everything", Answer::Terms(terms))
}

/// Spoils an answer to `renew`.
pub(super) fn renewed(question: &RenewQuestion, mut terms: Terms, random: &mut Rng) -> Lie {
    let lease = &question.lease;
    let pages = lease.size >> question.window.page;
    let what = match random.u8(..8) {
        0 if widened(terms.access).is_some() => {
            terms.access = widened(terms.access).expect("it can be");
            "more access"
        }
        1 if lease.tces > 0 => {
            terms.tces_max = lease.tces - 1;
            "fewer TCEs than set"
        }
        2 if lease.pinned > 0 => {
            terms.pinned_max = Some(lease.pinned - 1);
            "less memory than registered"
        }
        _ => return spoilt(terms, pages, question.now, random),
    };
    (Truth::Lie, what, Answer::Terms(terms))
}

fn spoilt(mut terms: Terms, pages: u64, now: u64, random: &mut Rng) -> Lie {
    let (truth, what) = match random.u8(..11) {
        0 => {
            terms.tces_max = 0;
            (Truth::Lie, "no TCE")
        }
        1 => {
            terms.tces_max = pages + 1;
            (Truth::Lie, "one TCE too many")
        }
        2 => {
            terms.tces_max = u64::MAX;
            (Truth::Lie, "all the TCEs")
        }
        3 => {
            terms.edits_per_second = Some(0);
            (Truth::Lie, "no edits")
        }
        4 => {
            terms.expires = Some(now);
            (Truth::Lie, "over now")
        }
        5 => {
            terms.expires = Some(random.u64(..=now));
            (Truth::Lie, "over long ago")
        }
        6 => {
            terms.expires = Some(now + 1);
            (Truth::Perhaps, "over soon")
        }
        7 => {
            terms.expires = Some(u64::MAX);
            (Truth::Perhaps, "over at the end of time")
        }
        8 => {
            terms.tces_max = random.u64(1..=pages.max(1));
            (Truth::Perhaps, "fewer TCEs")
        }
        9 => {
            terms.pinned_max = Some(random.u64(..));
            (Truth::Perhaps, "other memory")
        }
        _ => {
            terms.edits_per_second = Some(random.u32(1..));
            (Truth::Perhaps, "other edits")
        }
    };
    (truth, what, Answer::Terms(terms))
}

/// Leases that shall end, in place of what was answered.
pub(super) fn ending(leases: &[Lease], random: &mut Rng) -> Lie {
    let mut ids: Vec<u64> = leases.iter().map(|lease| lease.id).collect();
    random.shuffle(&mut ids);
    ids.truncate(random.usize(..=ids.len()));
    let (truth, what) = match (random.u8(..4), ids.first().copied()) {
        (0, _) => {
            ids.push(UNKNOWN.into());
            (Truth::Lie, "lease unknown")
        }
        (1, Some(first)) => {
            ids.push(first);
            (Truth::Lie, "lease twice")
        }
        _ => (Truth::Perhaps, "other leases"),
    };
    (truth, what, Answer::Leases(ids))
}
