//! The memory behind registered ranges.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::MemoryRange,
    machine::Backing,
};

/// The huge pages there are on POWER.
const HUGE_PAGES: [PageShift; 3] = [PageShift::M2, PageShift::M16, PageShift::G1];

/// Memory of a process in pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBlock {
    /// Whose.
    pub process: u32,
    /// Where.
    pub range: MemoryRange,
    /// What backs it.
    pub backing: Backing,
}

/// What is known of a range.
#[derive(Clone, Copy)]
struct Known {
    end: u64,
    /// The page that backs it, as recorded.
    told: Option<PageShift>,
    /// The largest TCE page that was mapped into it.
    mapped: Option<PageShift>,
}

/// Registered ranges, by process and start.
#[derive(Default)]
pub(super) struct Blocks {
    ranges: BTreeMap<(u32, u64), Known>,
}

impl Blocks {
    /// A range that was registered. Ranges that overlap, one after the other in time, become one.
    pub(super) fn add(&mut self, process: u32, range: MemoryRange, told: Option<PageShift>) {
        let mut start = range.address.raw();
        let Some(end) = start.checked_add(range.size.raw()) else { return };
        let mut known = Known { end, told, mapped: None };
        loop {
            let before = self.ranges.range((process, 0)..(process, known.end)).next_back();
            let Some((key, other)) = before.map(|(key, other)| (*key, *other)) else { break };
            if other.end <= start {
                break;
            }
            self.ranges.remove(&key);
            start = start.min(key.1);
            known = Known {
                end: known.end.max(other.end),
                told: known.told.min(other.told).or(known.told).or(other.told),
                mapped: known.mapped.max(other.mapped),
            };
        }
        self.ranges.insert((process, start), known);
    }

    /// A TCE page of this size was made in the range of this address.
    pub(super) fn mapped(&mut self, process: u32, address: HostAddr, page: PageShift) {
        let mut before = self.ranges.range_mut((process, 0)..=(process, address.raw()));
        if let Some((_, known)) = before.next_back().filter(|(_, it)| address.raw() < it.end) {
            known.mapped = known.mapped.max(Some(page));
        }
    }

    pub(super) fn conclude(
        self,
        system_page: PageShift,
        assumptions: &mut Vec<String>,
    ) -> Vec<MemoryBlock> {
        let mut untold = 0_u64;
        let mut blocks: Vec<MemoryBlock> = Vec::new();
        for ((process, start), known) in self.ranges {
            let page = known.told.max(known.mapped).unwrap_or(system_page);
            untold += u64::from(known.told.is_none());
            let huge = HUGE_PAGES.into_iter().find(|huge| *huge >= page);
            let backing = match huge.filter(|_| page > system_page) {
                Some(huge) => Backing::Hugetlb(huge),
                None => Backing::Anonymous,
            };
            let unit = huge.filter(|_| page > system_page).unwrap_or(system_page).bytes().raw();
            let start = start / unit * unit;
            let end = known.end.checked_next_multiple_of(unit).unwrap_or(known.end);
            join(&mut blocks, process, start, end, backing);
        }
        if untold > 0 {
            assumptions.push(format!(
                "the pages behind {untold} of the registered ranges, from the page sizes they were \
                 mapped with"
            ));
        }
        blocks
    }
}

/// Adds a block; what an earlier one covers already is left out, and equal neighbours are one.
fn join(blocks: &mut Vec<MemoryBlock>, process: u32, start: u64, end: u64, backing: Backing) {
    let mut start = start;
    if let Some(last) = blocks.last_mut().filter(|last| last.process == process) {
        let last_end = last.range.address.raw().saturating_add(last.range.size.raw());
        start = start.max(last_end);
        if start == last_end && last.backing == backing && end > start {
            last.range.size = Bytes::new(end - last.range.address.raw());
            return;
        }
    }
    if end > start {
        let range = MemoryRange { address: HostAddr::new(start), size: Bytes::new(end - start) };
        blocks.push(MemoryBlock { process, range, backing });
    }
}
