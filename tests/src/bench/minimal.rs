//! The fewest calls that do the same, found without the engine's planner.

use tce_engine::{papr::LIST_TCES_MAX, plan::CALL_TCES_MAX};

use super::load::{Form, Load, Request};

/// The calls for the requests of one phase: neighbours joined, within a list where they come in lists.
///
/// It relies on what holds for all loads: a phase maps or unmaps, no two requests overlap, and one that unmaps leaves
/// nothing, so that a call may span whatever lies between.
#[must_use]
pub fn minimal(load: &Load, requests: &[Request]) -> Vec<Request> {
    let together = match load.form {
        Form::Together => requests.len(),
        Form::Lists => usize::try_from(LIST_TCES_MAX).unwrap_or(usize::MAX),
    };
    requests.chunks(together.max(1)).flat_map(joined).collect()
}

fn joined(requests: &[Request]) -> Vec<Request> {
    let mut sorted = requests.to_vec();
    sorted.sort_unstable_by_key(Request::first);
    let mut calls: Vec<Request> = Vec::new();
    for request in sorted {
        match calls.last_mut().and_then(|last| Some((joint(last, &request)?, last))) {
            Some((joint, last)) => *last = joint,
            None => calls.extend(cut(request)),
        }
    }
    calls
}

/// Both in one call, if that is possible.
fn joint(low: &Request, high: &Request) -> Option<Request> {
    let (first, span) = (low.first(), high.first() + high.tces() - low.first());
    let joint = match (*low, *high) {
        (Request::Map { tces, page, .. }, Request::Map { first: next, page: next_page, .. })
            if (first + tces, page + tces) == (next, next_page) =>
        {
            Request::Map { first, tces: span, page }
        }
        (Request::Unmap { .. }, Request::Unmap { .. }) => Request::Unmap { first, tces: span },
        _ => return None,
    };
    (span <= CALL_TCES_MAX).then_some(joint)
}

/// A request in calls that are not too long.
fn cut(request: Request) -> impl Iterator<Item = Request> {
    let end = request.first() + request.tces();
    let step = usize::try_from(CALL_TCES_MAX).unwrap_or(usize::MAX);
    (request.first()..end).step_by(step).map(move |at| {
        let tces = (end - at).min(CALL_TCES_MAX);
        match request {
            Request::Map { first, page, .. } => {
                Request::Map { first: at, tces, page: page + (at - first) }
            }
            Request::Unmap { .. } => Request::Unmap { first: at, tces },
        }
    })
}
