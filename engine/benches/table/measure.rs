//! Seeded choices, medians and rows.

use std::time::{Duration, Instant};

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// To see that it works, in debug builds too.
    Quick,
    Full,
}

impl Effort {
    pub(crate) const fn rounds(self) -> usize {
        match self {
            Self::Quick => 1,
            Self::Full => 3,
        }
    }
}

/// A number that looks random, the same for each index (SplitMix64).
pub(crate) const fn scattered(index: u64) -> u64 {
    let mut mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The time of something.
pub(crate) fn time(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

/// The median of some times.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Nanoseconds for each of so many.
pub(crate) fn ns_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e9 / float(count)
}

/// A count as a number to divide by.
pub(crate) fn float(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let part = |half: u64| f64::from(u32::try_from(half).expect("half of 64 bits"));
    part(high) * 4_294_967_296.0 + part(low)
}
