//! Chance that comes from a seed.

/// Xorshift: good enough to choose, and the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    /// Seeds in a row are spread out; 0 would stay 0.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides.max(1)
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    pub(crate) fn index(&mut self, len: usize) -> Option<usize> {
        let sides = u64::try_from(len).expect("it fits");
        (sides > 0).then(|| usize::try_from(self.roll(sides)).expect("it fits"))
    }

    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        self.index(all.len()).map(|index| all[index])
    }
}
