//! Values for arguments: the right one, one beside it, or nonsense.

use fastrand::Rng;

/// Whether a die of so many sides shows its first.
pub(super) fn one_in(rng: &mut Rng, sides: u32) -> bool {
    rng.u32(..sides) == 0
}

/// One of some values.
pub(super) fn any<T: Copy>(rng: &mut Rng, values: &[T]) -> Option<T> {
    rng.choice(values.iter().copied())
}

/// A value, or now and then one beside it, by a byte, by `unit` or by far.
pub(super) fn near(rng: &mut Rng, value: u64, unit: u64) -> u64 {
    match rng.u8(..80) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => value.wrapping_add(unit),
        3 => value.wrapping_sub(unit),
        4 => value.wrapping_add(unit / 2),
        5 => any(rng, &[0, 1, 1 << 32, 1 << 59, 1 << 63, u64::MAX, u64::MAX - 0xfff]).unwrap_or(0),
        _ => value,
    }
}

/// A small number of pages, mostly very small.
pub(super) fn pages(rng: &mut Rng) -> u64 {
    match rng.u8(..10) {
        0..=4 => 1,
        5..=7 => rng.u64(2..=4),
        8 => rng.u64(4..=32),
        _ => rng.u64(1..=256),
    }
}
