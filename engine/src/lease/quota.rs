//! What a lease may use.

use std::num::NonZeroU32;

use crate::addr::Bytes;

use super::Timestamp;

const MICROS_PER_MILLI: u64 = 1000;
const MICROS_PER_SECOND: u64 = 1_000_000;

/// What a lease may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// TCEs set at once in one window.
    pub tces: u64,
    /// Memory registered for it; `None`: as much as there is.
    pub pinned: Option<Bytes>,
    /// Edits each second; `None`: as many as can be made.
    pub edits_per_second: Option<NonZeroU32>,
}

impl Quota {
    /// No limit but the lease's range.
    pub const NONE: Self = Self { tces: u64::MAX, pinned: None, edits_per_second: None };

    /// A limit of TCEs alone.
    #[must_use]
    pub const fn of_tces(tces: u64) -> Self {
        Self { tces, ..Self::NONE }
    }
}

/// How far a lease has used its edits: a second's worth can be made at once, and a batch begins when there is any left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// When the edits so far would have been made one by one, in microseconds.
    spent_until: u64,
}

impl Pace {
    /// From when on a batch may come, if that is after `now`.
    #[must_use]
    pub fn wait(self, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.spent_until.checked_sub(MICROS_PER_SECOND)?;
        let next = ahead / MICROS_PER_MILLI + 1;
        (next > now.0).then_some(Timestamp(next))
    }

    /// Notes edits.
    pub(crate) fn spend(&mut self, rate: NonZeroU32, edits: u64, now: Timestamp) {
        let now = now.0.saturating_mul(MICROS_PER_MILLI);
        let takes = edits.saturating_mul(MICROS_PER_SECOND).div_ceil(u64::from(rate.get()));
        self.spent_until = self.spent_until.max(now).saturating_add(takes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(edits: u32) -> NonZeroU32 {
        NonZeroU32::new(edits).expect("a rate")
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_one_by_one() {
        let (mut pace, start) = (Pace::default(), Timestamp(5000));
        for _ in 0..10 {
            assert_eq!(pace.wait(start), None);
            pace.spend(rate(10), 1, start);
        }
        assert_eq!(pace.wait(start), Some(Timestamp(5001)));
        pace.spend(rate(10), 1, Timestamp(5001));
        assert_eq!(pace.wait(Timestamp(5001)), Some(Timestamp(5101)));
        assert_eq!(pace.wait(Timestamp(5101)), None);
    }

    proptest! {
        #[test]
        fn in_the_long_run_no_more_edits_are_made_than_the_rate_allows(
            edits_per_second in 1u32..5000,
            batches in proptest::collection::vec((0u64..3000, 1u64..600), 1..60),
        ) {
            let (mut pace, mut now, mut made, mut last) = (Pace::default(), 0u64, 0u64, 0u64);
            for (later, edits) in batches {
                now += later;
                if pace.wait(Timestamp(now)).is_none() {
                    pace.spend(rate(edits_per_second), edits, Timestamp(now));
                    (made, last) = (made + edits, edits);
                }
                // A second's worth ahead, and the batch that went beyond it.
                let allowed = u64::from(edits_per_second) * (now + 1001) / 1000 + last + 1;
                prop_assert!(made <= allowed, "{made} of {allowed} by {now} ms");
            }
        }

        #[test]
        fn who_waits_as_long_as_told_may_go_on(
            edits_per_second in 1u32..5000, edits in 1u64..10_000, now in 0u64..1 << 40,
        ) {
            let mut pace = Pace::default();
            pace.spend(rate(edits_per_second), edits, Timestamp(now));
            if let Some(next) = pace.wait(Timestamp(now)) {
                prop_assert!(next > Timestamp(now));
                prop_assert_eq!(pace.wait(next), None);
                prop_assert!(pace.wait(Timestamp(next.0 - 1)).is_some());
            }
        }
    }
}
