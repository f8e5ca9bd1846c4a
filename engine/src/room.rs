//! Room: the parts of a window that nothing takes yet.

use crate::{
    addr::{Bytes, Iova, PageShift},
    facts::ReservedRange,
};

/// The holes of a window, ascending. Each is `start..end`, not empty.
pub(crate) struct Room {
    holes: Vec<(u64, u64)>,
}

impl Room {
    /// A window's room beside the reserved ranges.
    pub(crate) fn of(start: Iova, size: Bytes, reserved: &[ReservedRange]) -> Self {
        let end = start.raw().saturating_add(size.raw());
        let mut room = Self { holes: Vec::new() };
        room.add(start.raw(), end);
        for range in reserved {
            room.cut(range.start.raw(), range.start.raw().saturating_add(range.size.raw()));
        }
        room
    }

    /// Only what whole pages make use of: a page that is reserved in part takes no mapping.
    pub(crate) fn in_pages(self, page: PageShift) -> Self {
        let size = page.bytes().raw();
        let mut room = Self { holes: Vec::new() };
        for (low, high) in self.holes {
            let Some(low) = low.checked_next_multiple_of(size) else { continue };
            room.add(low, high / size * size);
        }
        room
    }

    /// The holes, ascending.
    pub(crate) fn holes(&self) -> impl Iterator<Item = (Iova, Bytes)> {
        self.holes.iter().map(|(low, high)| (Iova::new(*low), Bytes::new(high - low)))
    }

    /// All of it.
    pub(crate) fn size(&self) -> Bytes {
        self.holes().map(|(_, size)| size).fold(Bytes::ZERO, Bytes::saturating_add)
    }

    /// Takes a range, if one hole has all of it.
    pub(crate) fn take_at(&mut self, at: Iova, size: Bytes) -> bool {
        let (start, Some(end)) = (at.raw(), at.checked_add(size).map(Iova::raw)) else {
            return false;
        };
        let is_free = self.holes.iter().any(|(low, high)| *low <= start && end <= *high);
        if is_free {
            self.cut(start, end);
        }
        is_free
    }

    /// Takes a range of this size at the start of the first hole that has it.
    pub(crate) fn take(&mut self, size: Bytes) -> bool {
        let found = self.holes.iter().find(|(low, high)| high - low >= size.raw());
        match found {
            Some((low, _)) => {
                let low = *low;
                self.cut(low, low + size.raw());
                true
            }
            None => false,
        }
    }

    fn cut(&mut self, start: u64, end: u64) {
        for (low, high) in std::mem::take(&mut self.holes) {
            self.add(low, high.min(start));
            self.add(low.max(end), high);
        }
    }

    fn add(&mut self, low: u64, high: u64) {
        if low < high {
            self.holes.push((low, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MMIO: [ReservedRange; 1] =
        [ReservedRange { start: Iova::new(2 << 30), size: Bytes::gib(2), what: "mmio-32bit" }];

    #[test]
    fn a_piece_does_not_reach_across_a_reserved_range() {
        let mut room = Room::of(Iova::new(0), Bytes::gib(8), &MMIO);
        assert!(!room.take(Bytes::gib(5)), "6 GiB are free, but only 2 and 4 in one piece");
        assert!(room.take(Bytes::gib(4)) && room.take(Bytes::gib(2)));
        assert!(!room.take(Bytes::new(1)));
    }

    #[test]
    fn a_page_that_is_reserved_in_part_is_no_room() {
        let msi = [ReservedRange { start: Iova::new(0x1_1000), size: Bytes::kib(8), what: "msi" }];
        let room = Room::of(Iova::new(0), Bytes::kib(256), &msi);
        assert_eq!(room.size(), Bytes::kib(248));
        let room = room.in_pages(PageShift::K64);
        let holes: Vec<_> = room.holes().map(|(start, size)| (start.raw(), size.raw())).collect();
        assert_eq!(holes, [(0, 0x1_0000), (0x2_0000, 0x2_0000)]);
        let nothing = Room::of(Iova::new(0x1000), Bytes::kib(64), &[]).in_pages(PageShift::K64);
        assert_eq!(nothing.size(), Bytes::ZERO, "two halves are no page");
    }

    #[test]
    fn no_range_is_taken_twice() {
        let mut room = Room::of(Iova::new(0), Bytes::mib(1), &[]);
        assert!(room.take_at(Iova::new(0x1000), Bytes::kib(4)));
        assert!(!room.take_at(Iova::new(0x1000), Bytes::kib(4)));
        assert!(!room.take_at(Iova::new(0), Bytes::kib(8)));
        assert!(room.take(Bytes::kib(4)), "below it");
        assert!(room.take(Bytes::kib(1016)), "behind it");
        assert!(!room.take_at(Iova::new(u64::MAX), Bytes::kib(4)));
    }
}
