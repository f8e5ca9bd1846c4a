//! Measuring for the benchmarks.

use std::time::{Duration, Instant};

/// The median time of some runs. Each gets what `prepare` made for it, whose time does not count.
pub fn median<T>(runs: u32, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let prepared = prepare();
            let begun = Instant::now();
            run(prepared);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
