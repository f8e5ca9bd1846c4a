//! Calls that were made, and how few would have done.
//!
//! Calls of one kind with none of its opposite in between could have been one list. From it, ranges that lie side by
//! side (in memory; for maps on the bus, too) are one call.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Finding, Rule, Severity, Unit,
    finding::{Hits, Told, cost},
};
use crate::{
    event::Call,
    format::Place,
    replay::{ContainerId, Leaving, Step},
};

/// Fewer calls to save are not worth a word.
const SAVED_MIN: u64 = 8;
/// Nor is a smaller factor.
const FACTOR_MIN: u64 = 4;

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// Calls made.
    pub made: u64,
    /// Those of them that did not return what they should.
    pub failed: u64,
    /// Calls that would have done for those that succeeded, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<u64>,
    /// How long they took together, in microseconds, as far as that was measured.
    pub duration_us: u64,
}

/// A call that may be joined with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    /// By it ranges are sorted, in it they must lie side by side.
    first: u64,
    /// For maps: the bus address, which must be side by side, too.
    second: u64,
    flags: u32,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Register,
    Map,
    Unmap,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Register, Self::Map, Self::Unmap];

    const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Map => "map",
            Self::Unmap => "unmap",
        }
    }
}

/// All calls by kind.
#[derive(Debug, Default)]
pub struct CallCounts {
    by_name: BTreeMap<&'static str, CallCount>,
    lists: BTreeMap<(ContainerId, Kind), Vec<Range>>,
    /// Calls of each kind that could have been fewer, and how few.
    joinable: BTreeMap<Kind, (u64, u64)>,
    first: BTreeMap<Kind, Place>,
}

impl CallCounts {
    /// The calls by the name of their kind.
    #[must_use]
    pub const fn by_name(&self) -> &BTreeMap<&'static str, CallCount> {
        &self.by_name
    }

    pub(super) fn step(&mut self, step: &Step<'_>) {
        let call = &step.event.call;
        let count = self.by_name.entry(name(call)).or_default();
        count.made += 1;
        count.failed += u64::from(is_failure(step));
        count.duration_us += step.event.duration_us.unwrap_or(0);
        let Some(container) = step.container else { return };
        if let Some(unmapped) = step.settled.as_ref().filter(|unmapped| unmapped.meant.is_none()) {
            self.unmapped(container, unmapped);
        }
        if !step.event.answer.is_zero() {
            return;
        }
        match *call {
            Call::Register { address, size, .. } => {
                let range = Range { first: address.raw(), second: 0, flags: 0, size: size.raw() };
                self.add(container, Kind::Register, range, step.place);
            }
            Call::Map { address, iova, size, flags, .. } => {
                self.close(container, Kind::Unmap);
                let (first, second) = (address.raw(), iova.raw());
                let range = Range { first, second, flags, size: size.raw() };
                self.add(container, Kind::Map, range, step.place);
            }
            Call::Unmap { .. } => self.close(container, Kind::Map),
            Call::Unregister { .. } => self.close(container, Kind::Register),
            _ => {}
        }
    }

    pub(super) fn leaving(&mut self, leaving: &Leaving<'_>) {
        if let Some(unmapped) = &leaving.settled
            && unmapped.meant.is_none()
        {
            self.unmapped(leaving.container, unmapped);
        }
        for kind in Kind::ALL {
            self.close(leaving.container, kind);
        }
    }

    /// Closes all lists and notes how few calls would have done.
    pub(super) fn settle(&mut self) {
        let open: Vec<_> = self.lists.keys().copied().collect();
        for (container, kind) in open {
            self.close(container, kind);
        }
        for (kind, (_, needed)) in &self.joinable {
            self.by_name.entry(kind.name()).or_default().needed = Some(*needed);
        }
    }

    fn unmapped(&mut self, container: ContainerId, unmapped: &crate::intent::Unmapped) {
        let (first, size) = (unmapped.range.iova.raw(), unmapped.range.size.raw());
        let range = Range { first, second: 0, flags: 0, size };
        self.add(container, Kind::Unmap, range, unmapped.place);
    }

    fn add(&mut self, container: ContainerId, kind: Kind, range: Range, place: Place) {
        self.first.entry(kind).or_insert(place);
        self.lists.entry((container, kind)).or_default().push(range);
    }

    fn close(&mut self, container: ContainerId, kind: Kind) {
        let Some(list) = self.lists.remove(&(container, kind)) else { return };
        let (made, needed) = self.joinable.entry(kind).or_default();
        *made += super::report::count(list.len());
        *needed += joined(list, kind);
    }

    pub(super) fn finding(&self) -> Option<Finding> {
        let mut hits = Hits::default();
        let (mut words, mut calls) = (Vec::new(), 0);
        for (kind, (made, needed)) in &self.joinable {
            let saved = made.saturating_sub(*needed);
            if saved >= SAVED_MIN && *made >= needed.saturating_mul(FACTOR_MIN) {
                hits.hit(self.first.get(kind).copied().unwrap_or(Place(1)));
                words.push(format!("{made} {} calls where {needed} would do", kind.name()));
                calls += saved;
            }
        }
        hits.finding(Rule::OneCallPerPage, Severity::Warning, Told {
            what: words.join(", "),
            cause: "a call takes a range of any length, and the kernel flushes once per call, on POWER9 \
                    and POWER10 the whole PE (phb4_tce_kill): one page costs as much as a million",
            costs: vec![cost("calls too many", calls, Unit::Calls)],
            remedy: "put neighbours together: memory that lies side by side is registered in one call, and \
                     mapped in one if its bus addresses lie side by side, too; one unmap may span holes",
        })
    }
}

/// How many calls are left if neighbours are one.
fn joined(mut list: Vec<Range>, kind: Kind) -> u64 {
    list.sort_unstable();
    let mut count = 0;
    let mut last: Option<Range> = None;
    for range in list {
        let is_next = last.is_some_and(|last| match kind {
            // An unmap clears what is mapped, so that overlaps do not matter.
            Kind::Unmap => range.first <= last.first.saturating_add(last.size),
            Kind::Register => range.first == last.first.saturating_add(last.size),
            Kind::Map => {
                range.first == last.first.saturating_add(last.size)
                    && range.second == last.second.saturating_add(last.size)
                    && range.flags == last.flags
            }
        });
        count += u64::from(!is_next);
        last = Some(range);
    }
    count
}

/// The kind's name; what strace did not show goes by the number of the call.
fn name(call: &Call) -> &'static str {
    match call {
        Call::Other { request, .. } => super::report::call_name(request & 0xff),
        call => call.name(),
    }
}

/// Calls that return a value of their own fail with an errno only.
fn is_failure(step: &Step<'_>) -> bool {
    use crate::event::Answer;
    match (&step.event.call, step.event.answer) {
        (_, Answer::Failed(_)) => true,
        (
            Call::Register { .. }
            | Call::Unregister { .. }
            | Call::Create { .. }
            | Call::Remove { .. }
            | Call::Map { .. }
            | Call::Unmap { .. },
            answer,
        ) => !answer.is_zero(),
        _ => false,
    }
}
