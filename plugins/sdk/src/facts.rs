//! Helpers on what is true of a container, and on refusals.

use crate::types::{
    Access, Bytes, ContainerFacts, Iova, LockedMemory, Refusal, RefusalReason, ReservedRange,
};

impl ContainerFacts {
    /// How many bytes between `start` and `start + size` are reserved.
    #[must_use]
    pub fn reserved_within(&self, start: Iova, size: Bytes) -> Bytes {
        self.reserved_ranges
            .iter()
            .map(|range| range.overlap(start, size))
            .fold(0, Bytes::saturating_add)
    }
}

impl ReservedRange {
    /// How many bytes of it lie between `start` and `start + size`.
    #[must_use]
    pub fn overlap(&self, start: Iova, size: Bytes) -> Bytes {
        let low = self.start.max(start);
        let high = self.start.saturating_add(self.size).min(start.saturating_add(size));
        high.saturating_sub(low)
    }
}

impl LockedMemory {
    /// What may still be charged for tables: the memory of the demand is counted in. Without a limit that is
    /// everything.
    #[must_use]
    pub fn left(&self) -> Bytes {
        self.limit.map_or(Bytes::MAX, |limit| limit.saturating_sub(self.charged))
    }
}

impl Access {
    /// Whether this right includes the other: `ReadWrite` includes all, the others themselves.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::ReadWrite || self == other
    }
}

impl Refusal {
    /// A refusal. `detail` is one sentence for a person: what was asked, what stands against it.
    #[must_use]
    pub fn new(reason: RefusalReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use crate::types::{Access, LockedMemory, ReservedRange};

    #[test]
    fn only_the_common_part_of_a_reserved_range_counts() {
        let range = ReservedRange { start: 2 << 30, size: 2 << 30, what: "mmio-32bit".to_owned() };
        assert_eq!(range.overlap(0, 2 << 30), 0);
        assert_eq!(range.overlap(0, 3 << 30), 1 << 30);
        assert_eq!(range.overlap(0, u64::MAX), 2 << 30);
        assert_eq!(range.overlap(1 << 59, 1 << 40), 0);
    }

    #[test]
    fn without_a_limit_all_memory_is_left() {
        assert_eq!(LockedMemory { limit: None, charged: 5 }.left(), u64::MAX);
        assert_eq!(LockedMemory { limit: Some(7), charged: 5 }.left(), 2);
        assert_eq!(LockedMemory { limit: Some(3), charged: 5 }.left(), 0);
    }

    #[test]
    fn only_read_write_includes_the_others() {
        assert!(Access::ReadWrite.includes(Access::Write));
        assert!(Access::Read.includes(Access::Read));
        assert!(!Access::Read.includes(Access::ReadWrite));
        assert!(!Access::Write.includes(Access::Read));
    }
}
