//! Reserved ranges: the platform's and those that the embedder adds.

use thiserror::Error;

use crate::{
    addr::{Bytes, Iova},
    room::Room,
};

/// The most reserved ranges that can be added to those of the platform.
pub const RESERVED_MAX: usize = 64;

/// Bus addresses that no mapping may use although a window covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedRange {
    /// The first.
    pub start: Iova,
    /// How many bytes.
    pub size: Bytes,
    /// What lies there instead.
    pub what: &'static str,
}

impl ReservedRange {
    /// How many bytes of it lie between `start` and `start + size`.
    #[must_use]
    pub fn overlap(&self, start: Iova, size: Bytes) -> Bytes {
        let low = self.start.raw().max(start.raw());
        let end = |start: Iova, size: Bytes| start.raw().saturating_add(size.raw());
        let high = end(self.start, self.size).min(end(start, size));
        Bytes::new(high.saturating_sub(low))
    }
}

/// Why a range cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReservedRefusal {
    /// It has no size.
    #[error("the reserved {} range at {} is empty: give it a size, or leave it out", .0.what, .0.start)]
    Empty(ReservedRange),
    /// It ends beyond the last bus address.
    #[error(
        "the reserved {} range of {} at {} ends beyond 64 bits: make it smaller",
        .0.what, .0.size, .0.start
    )]
    Overruns(ReservedRange),
    /// There are too many.
    #[error("{0} reserved ranges are too many; {RESERVED_MAX} is the most: join some")]
    TooMany(usize),
}

/// # Errors
/// What is wrong with the ranges.
pub(super) fn check(ranges: &[ReservedRange]) -> Result<(), ReservedRefusal> {
    if ranges.len() > RESERVED_MAX {
        return Err(ReservedRefusal::TooMany(ranges.len()));
    }
    for range in ranges {
        if range.size.is_zero() {
            return Err(ReservedRefusal::Empty(*range));
        }
        if range.start.checked_add(range.size).is_none() {
            return Err(ReservedRefusal::Overruns(*range));
        }
    }
    Ok(())
}

/// Adds to reserved ranges what of the `more` is not reserved yet, so that nothing is counted twice. They are in
/// ascending order then.
pub(super) fn join(reserved: &mut Vec<ReservedRange>, more: &[ReservedRange]) {
    for range in more {
        let room = Room::of(range.start, range.size, reserved);
        let what = range.what;
        let left = room.holes().map(|(start, size)| ReservedRange { start, size, what });
        let left: Vec<ReservedRange> = left.collect();
        reserved.extend(left);
    }
    reserved.sort_unstable_by_key(|range| range.start);
}
