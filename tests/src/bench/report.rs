//! The figures for people.

use std::{fmt::Write, time::Duration};

use super::{
    contender::{Calls, Who},
    load::{Load, Phase, REPLACED_OF},
    measure::{Figures, Scale, Times},
};

/// What the columns are.
#[must_use]
pub fn heading(name: &str, scale: Scale) -> String {
    let Scale { tces, rounds } = scale;
    format!(
        "Work on {} TCEs of 4K, {name}\n\
         Each maps all, then replaces 1 of {REPLACED_OF}, then unmaps all; everyone once a round, {rounds} rounds.\n\
         map, replace, unmap: MAP_DMA and UNMAP_DMA calls, exact; the bare calls are the fewest that do it.\n\
         memory: REGISTER_MEMORY and UNREGISTER_MEMORY, where they are part of the work.\n\
         ns: medians for each TCE of the phase.\n\
         / bare: the time over that of the bare calls in the same round, phases that both do: median (least to most).\n\
         / tce: the median of the time over tce's in the same way.\n",
        grouped(tces),
    )
}

/// The table of a load.
#[must_use]
pub fn rows(load: &Load, scale: Scale, figures: &[Figures]) -> String {
    let mut text = format!("{}: {}\n", load.name, load.what);
    let _ = writeln!(
        text,
        "  {:<14}{:>9}{:>11}{:>11}{:>11}{:>12}{:>10}{:>10}{:>10}  {:<22}{:>7}",
        "",
        "memory",
        "map",
        "replace",
        "unmap",
        "TCEs/call",
        "map ns",
        "repl. ns",
        "unmap ns",
        "  / bare",
        "/ tce"
    );
    for of in figures {
        let _ = writeln!(text, "  {}", row(load, scale, of, figures).trim_end());
    }
    text
}

fn row(load: &Load, scale: Scale, of: &Figures, all: &[Figures]) -> String {
    let calls = |phase: Phase| of.calls.of(phase);
    let memory: u64 = Phase::ALL.into_iter().filter_map(calls).map(|it| it.memory).sum();
    let made: u64 = Phase::ALL.into_iter().filter_map(calls).map(|it| it.tces).sum();
    let tces = |phase| load.tces(scale.tces).of(phase);
    let done: u64 = Phase::ALL.into_iter().filter(|it| calls(*it).is_some()).map(tces).sum();
    let shown = |phase| calls(phase).map_or("-".to_owned(), |it: Calls| grouped(it.tces));
    let ns = |phase| match median_of(of, phase) {
        Some(time) => format!("{:.1}", time.as_secs_f64() * 1e9 / float(tces(phase))),
        None => "-".to_owned(),
    };
    let mut text = format!("{:<14}{:>9}", of.who.name(), grouped(memory));
    for phase in Phase::ALL {
        let _ = write!(text, "{:>11}", shown(phase));
    }
    let _ = write!(text, "{:>12}", each(done, made));
    for phase in Phase::ALL {
        let _ = write!(text, "{:>10}", ns(phase));
    }
    let spread = |who| Spread::of(of, all.iter().find(|it| it.who == who)?);
    let bare = spread(Who::Bare).map_or(String::new(), |it| {
        format!("{:>7.2} ({:.2} to {:.2})", it.median, it.least, it.most)
    });
    let ours = spread(Who::Ours).map_or(String::new(), |it| format!("{:.2}", it.median));
    let _ = write!(text, "  {bare:<22}{ours:>7}");
    text
}

/// Ratios of rounds.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// How much longer one takes than another in the same round.
    fn of(one: &Figures, other: &Figures) -> Option<Self> {
        let rounds = one.rounds.iter().zip(&other.rounds);
        let mut ratios: Vec<f64> = rounds.filter_map(|(one, other)| ratio(one, other)).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let median = *ratios.get(ratios.len() / 2)?;
        Some(Self { least: *ratios.first()?, median, most: *ratios.last()? })
    }
}

/// Over the phases that both do.
fn ratio(one: &Times, other: &Times) -> Option<f64> {
    let both = |phase| Some((one.of(phase)?, other.of(phase)?));
    let sums = Phase::ALL.into_iter().filter_map(both);
    let (one, other) =
        sums.fold((Duration::ZERO, Duration::ZERO), |sum, both| (sum.0 + both.0, sum.1 + both.1));
    (!other.is_zero()).then(|| one.as_secs_f64() / other.as_secs_f64())
}

fn median_of(figures: &Figures, phase: Phase) -> Option<Duration> {
    let mut times: Vec<Duration> =
        figures.rounds.iter().filter_map(|times| times.of(phase)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// A count as a number to divide by.
#[must_use]
pub fn float(count: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX));
    half(count >> 32) * 4_294_967_296.0 + half(count)
}

/// How many of one for each of another: `1.3`, `1,048,576`.
fn each(one: u64, other: u64) -> String {
    match one / other.max(1) {
        0..10 => format!("{:.1}", float(one) / float(other.max(1))),
        many => grouped(many),
    }
}

/// `1,048,576`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
