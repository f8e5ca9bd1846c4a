//! What a decision costs.

use std::{num::NonZeroU32, time::Duration};

use crate::policy::{Broken, Evaluator, Question};

/// The most decisions of one measurement.
pub const DECISIONS_MAX: u32 = 1_000_000;

/// The cost of one decision, over many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Fuel; the same each time. `None` where nothing is metered.
    pub fuel: Option<u64>,
    /// Half of them took no longer.
    pub median: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

/// Asks again and again. `stopwatch` tells how long it took to do what it is given.
///
/// # Errors
/// The policy broke.
pub fn measure(
    policy: &dyn Evaluator,
    question: &Question,
    decisions: NonZeroU32,
    mut stopwatch: impl FnMut(&mut dyn FnMut()) -> Duration,
) -> Result<Cost, Broken> {
    let mut times = Vec::new();
    let mut fuel = None;
    for _ in 0..decisions.get().min(DECISIONS_MAX) {
        let mut evaluation = None;
        times.push(stopwatch(&mut || evaluation = Some(policy.evaluate(question))));
        if let Some(evaluation) = evaluation {
            evaluation.result?;
            fuel = evaluation.fuel;
        }
    }
    times.sort_unstable();
    Ok(Cost { fuel, median: at(&times, 50), p99: at(&times, 99) })
}

/// The time that so many of a hundred do not exceed.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::at;
    use std::time::Duration;

    #[test]
    fn a_percentile_is_the_time_that_so_many_do_not_exceed() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_nanos).collect();
        assert_eq!(at(&times, 50), Duration::from_nanos(100));
        assert_eq!(at(&times, 99), Duration::from_nanos(198));
        assert_eq!(at(&times[..1], 99), Duration::from_nanos(1));
        assert_eq!(at(&[], 50), Duration::ZERO);
    }
}
