//! Long sequences of maps and unmaps against a plain map from page to page.

use std::collections::BTreeMap;

use tce_engine::{
    addr::{Bytes, Iova},
    errno::Errno,
    kernel::MemoryRange,
    machine::Backing,
};

use crate::bench::{Bench, OK, failed, part};

const PAGE: u64 = 4096;
/// Pages of the window in play, across several leaves of its table.
const WINDOW_PAGES: u64 = 20_000;
const REGION_PAGES: u64 = 6_000;

/// A fixed sequence that looks like none (Knuth's MMIX constants).
struct Steps(u64);

impl Steps {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What should be mapped: window page to memory page.
#[derive(Default)]
struct Model(BTreeMap<u64, u64>);

impl Model {
    fn map(&mut self, first: u64, memory: u64, count: u64) {
        self.0.extend((0..count).map(|page| (first + page, memory + page * PAGE)));
    }

    fn unmap(&mut self, first: u64, count: u64) {
        self.0.retain(|page, _| !(first..first + count).contains(page));
    }

    fn pointing_into(&self, memory: MemoryRange) -> u64 {
        let range = memory.address.raw()..memory.address.raw() + memory.size.raw();
        let pointing = self.0.values().filter(|address| range.contains(address)).count();
        u64::try_from(pointing).expect("it is a count")
    }
}

#[test]
fn tces_and_counts_follow_a_plain_map() {
    let mut bench = Bench::named("powernv9");
    let size = Bytes::new(REGION_PAGES * PAGE);
    let regions: Vec<_> = (0..3).map(|_| bench.registered(size, Backing::Anonymous)).collect();
    let mut steps = Steps(2016);
    let mut model = Model::default();
    for step in 0..400 {
        let memory = regions[usize::try_from(steps.below(3)).expect("it is small")];
        let first = steps.below(WINDOW_PAGES);
        let count = 1 + steps.below(REGION_PAGES);
        let offset = steps.below(REGION_PAGES);
        let wanted = part(memory, offset * PAGE, count * PAGE);
        if step % 3 == 2 {
            assert_eq!(bench.unmap(first * PAGE, wanted.size), OK);
            model.unmap(first, count);
        } else if offset + count <= REGION_PAGES {
            assert_eq!(bench.map(first * PAGE, wanted), OK);
            model.map(first, wanted.address.raw(), count);
        } else {
            // The memory ends first: what was exchanged until then is empty.
            assert_eq!(bench.map(first * PAGE, wanted), failed(Errno::EINVAL));
            model.unmap(first, REGION_PAGES - offset);
        }
        for memory in &regions {
            assert_eq!(bench.mapped(*memory), model.pointing_into(*memory), "step {step}");
        }
    }
    for page in 0..WINDOW_PAGES + REGION_PAGES {
        let tce = bench.machine.tce(bench.container, Iova::new(page * PAGE));
        let expected = model.0.get(&page).copied();
        assert_eq!(tce.map(|tce| tce.address.raw()), expected, "page {page}");
    }
    assert_eq!(bench.remove(0), OK);
    for memory in regions {
        assert_eq!((bench.mapped(memory), bench.unregister(memory)), (0, OK));
    }
    assert_eq!(bench.locked_kib(), 0);
    assert!(bench.machine.tces_set() > bench.machine.tces_cleared(), "some were exchanged");
}
