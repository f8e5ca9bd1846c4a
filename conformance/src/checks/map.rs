//! Setting TCEs: what is checked, what is not, and what a failure leaves.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Facts, Need, Script, Topic,
    facts::HUGE_PAGE_SHIFT,
    script::{BAD_RANGE, OK, fails, starts_at},
    steps::{
        C0, READ, READ_WRITE, WRITE, allocate, at, create, in_block, map, map_with, register,
        remove, unmap, unregister,
    },
};
use crate::step::{Backing, Place};

/// Flags that mean nothing.
const UNKNOWN_FLAG: u32 = 4;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "mapping-needs-a-registration",
        topic: Topic::Map,
        title: "Before memory is registered, MAP and UNMAP are EPERM",
        asserts: "Right after SET_IOMMU both are EPERM, and make no window.",
        function: "tce_iommu_ioctl",
        trap: "EPERM here is not about rights: the container is not enabled yet.",
        engine: "An edit is admitted only into a registered region.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::ready()
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::EPERM))
                .expect(unmap(C0, 0, 0x1000), fails(Errno::EPERM))
        },
    },
    Check {
        name: "map-flags-are-read-and-write",
        topic: Topic::Map,
        title: "A map allows reading, writing or both, and takes no other flag",
        asserts: "MAP with an unknown flag is EINVAL and makes no window; with neither READ nor \
                  WRITE EINVAL; with either or both 0.",
        function: "tce_iommu_ioctl, iommu_tce_direction",
        trap: "An unknown flag is refused before the default window is made, missing flags after \
                  it.",
        engine: "`Access` has no other values.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let with = |flags| map_with(C0, flags, at(0), 0, 0x1000);
            Script::ready()
                .prepare(register(C0, at(0), facts.page()))
                .expect(with(READ_WRITE | UNKNOWN_FLAG), fails(Errno::EINVAL))
                .expect(with(0), fails(Errno::EINVAL).charging(facts.default_charge()))
                .expect(with(READ), OK)
                .expect(with(WRITE), OK)
                .expect(with(READ_WRITE), OK)
        },
    },
    Check {
        name: "map-outside-every-window",
        topic: Topic::Map,
        title: "A map that starts in no window is ENXIO",
        asserts: "With only the default window, MAP right behind its end and at 1 << 59 is ENXIO.",
        function: "tce_iommu_find_table",
        trap: "Only the first address is looked up.",
        engine: "`Window::admit` checks the whole range.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(map(C0, at(0), facts.default_window, 0x1000), fails(Errno::ENXIO))
                .expect(map(C0, at(0), 1 << 59, 0x1000), fails(Errno::ENXIO))
        },
    },
    Check {
        name: "misaligned-map-returns-one",
        topic: Topic::Map,
        title: "A map at a misaligned bus address returns 1, without an errno",
        asserts: "In a window of 4K pages MAP of half a page and of a misaligned memory address \
                  is EINVAL; at a misaligned bus address it is 1.",
        function: "tce_iommu_ioctl, iommu_tce_put_param_check",
        trap: "The macro is `A || B`, so the errno is lost; whoever tests for less than 0 takes \
                  the failure for success.",
        engine: "Any result other than 0 is a failure (`Fault`); alignment is checked before the \
                  call.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(map(C0, at(0), 0x2000, 0x800), fails(Errno::EINVAL))
                .expect(map(C0, at(0x800), 0x2000, 0x1000), fails(Errno::EINVAL))
                .expect(map(C0, at(0), 0x2800, 0x1000), BAD_RANGE)
                .expect(map(C0, at(0), 0x2001, 0x1000), BAD_RANGE)
        },
    },
    Check {
        name: "map-needs-registered-memory",
        topic: Topic::Map,
        title: "Memory that is not registered is not mapped",
        asserts: "MAP of memory outside the registered region, and of a range that leaves it, is \
                  EINVAL.",
        function: "tce_iommu_build_v2, tce_iommu_prereg_ua_to_hpa",
        trap: "The range is looked up page by page, after the TCEs before have been changed.",
        engine: "`Regions::locate` finds the region of the whole range before the call.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            mapped(facts)
                .expect(map(C0, at(page), 0x2000, 0x1000), fails(Errno::EINVAL))
                .expect(map(C0, at(page - 0x1000), 0x2000, 0x2000), fails(Errno::EINVAL))
                .expect(
                    map(C0, Place { block: None, offset: 0 }, 0x2000, 0x1000),
                    fails(Errno::EINVAL),
                )
        },
    },
    Check {
        name: "map-crosses-regions",
        topic: Topic::Map,
        title: "One map may lead from a region into the next",
        asserts: "With two neighbouring pages registered apart, MAP across their border is 0, \
                  and both regions are held by it: once unmapped, both are given back.",
        function: "tce_iommu_build_v2, mm_iommu_lookup",
        trap: "Only each TCE page has to lie in one region.",
        engine: "An edit points into one region; neighbours of several become one call \
                  (`plan.rs`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            mapped(facts)
                .expect(register(C0, at(page), page), OK.charging(page))
                .expect(map(C0, at(page - 0x1000), 0, 0x2000), OK)
                .expect(unmap(C0, 0, 0x2000), OK)
                .expect(unregister(C0, at(0), page), OK.releasing(page))
                .expect(unregister(C0, at(page), page), OK.releasing(page))
        },
    },
    Check {
        name: "map-replaces-silently",
        topic: Topic::Map,
        title: "A map over a live TCE replaces it and says nothing",
        asserts: "MAP of another region over a mapped page is 0; the first region is free then: \
                  its UNREGISTER gives its charge back.",
        function: "tce_iommu_build_v2, iommu_tce_xchg_no_kill",
        trap: "There is no EBUSY or EEXIST: a mapping that was forgotten is overwritten.",
        engine: "The engine's own table says what is mapped; every TCE belongs to one lease \
                  (`ledger.rs`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            mapped(facts)
                .expect(register(C0, at(page), page), OK.charging(page))
                .expect(map(C0, at(page), 0, 0x1000), OK)
                .expect(unregister(C0, at(0), page), OK.releasing(page))
                .expect(unmap(C0, 0, 0x1000), OK)
                .expect(unregister(C0, at(page), page), OK.releasing(page))
        },
    },
    Check {
        name: "failed-map-empties-what-it-touched",
        topic: Topic::Map,
        title: "A map that fails half way leaves nothing where something was",
        asserts: "MAP of two pages, of which the second is not registered, over a live TCE is \
                  EINVAL; the old mapping is gone: UNREGISTER of its region gives its charge \
                  back.",
        function: "tce_iommu_build_v2, tce_iommu_clear",
        trap: "The kernel rolls back to empty, not to what was there; a device loses memory it \
                  was using.",
        engine: "A failed batch is put back from the engine's table (`engine/batch.rs`, `undo`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            mapped(facts)
                .expect(register(C0, at(2 * page), page), OK.charging(page))
                .expect(map(C0, at(3 * page - 0x1000), 0, 0x2000), fails(Errno::EINVAL))
                .expect(unregister(C0, at(0), page), OK.releasing(page))
                .expect(unregister(C0, at(2 * page), page), OK.releasing(page))
        },
    },
    Check {
        name: "tce-page-needs-as-large-a-backing",
        topic: Topic::Map,
        title: "A TCE page larger than what backs the memory is refused",
        asserts: "In a window whose page is larger than the kernel's, MAP of registered \
                  anonymous memory is EINVAL.",
        function: "mm_iommu_ua_to_hpa, tce_iommu_prereg_ua_to_hpa",
        trap: "Otherwise the device would see the neighbours of the page; transparent huge pages \
                  do not count.",
        engine: "`Regions::locate` compares the window's page with each region's.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow, Need::LargerTcePage]),
        leaves: None,
        script: larger_tce_page,
    },
    Check {
        name: "huge-pages-take-large-tces",
        topic: Topic::Map,
        title: "Huge pages take TCE pages of their size, and smaller ones",
        asserts: "MAP of a huge page of 2 MiB into a window of 2 MiB pages is 0, and so is \
                  UNMAP; in 4K pages half of it can be mapped.",
        function: "mm_iommu_do_alloc, tce_page_is_contained",
        trap: "Large TCEs make small tables, but only for memory that was allocated for them.",
        engine: "`page-selection` is told what backs each region, and `grant::pages` checks the \
                  answer.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow, Need::HugePages(1)]),
        leaves: None,
        script: huge_pages,
    },
    Check {
        name: "small-tces-reach-into-large-pages",
        topic: Topic::Map,
        title: "A 4K TCE may point into the middle of a larger page",
        asserts: "On a kernel with 64K pages MAP of 4K at an offset of 0x3000 into a page is 0.",
        function: "tce_iommu_build_v2",
        trap: "Memory is registered in 64K and may be mapped in 4K: the two alignments differ.",
        engine: "`Regions::locate` takes any offset that the window's page allows.",
        applies: Applies::ANYWHERE.with(&[Need::LargeSystemPage]),
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(map(C0, at(0x3000), 0x2000, 0x1000), OK)
                .expect(map(C0, at(0xf000), 0x3000, 0x1000), OK)
        },
    },
];

/// A container with a registered page, and one TCE that points to it, at 0.
fn mapped(facts: &Facts) -> Script {
    Script::ready().prepare(register(C0, at(0), facts.page())).prepare(map(C0, at(0), 0, 0x1000))
}

fn larger_tce_page(facts: &Facts) -> Script {
    // It applies where there is one.
    let shift = facts.larger_page().unwrap_or(16);
    let (size, window) = (1 << shift, 1 << (shift + 10));
    let start = facts.declined_start();
    Script::ready()
        .prepare(allocate(Backing::Anonymous, size))
        .expect(register(C0, in_block(1, 0), size), OK.charging(size))
        .prepare(remove(C0, 0))
        .expect(
            create(C0, shift, window, 1),
            starts_at(start).charging(facts.charge(shift, window, 1)),
        )
        .expect(map(C0, in_block(1, 0), start, size), fails(Errno::EINVAL))
}

fn huge_pages(facts: &Facts) -> Script {
    let shift = u32::from(HUGE_PAGE_SHIFT);
    let (size, window) = (1 << shift, 1 << 32);
    let start = facts.declined_start();
    let huge = in_block(1, 0);
    Script::ready()
        .prepare(allocate(Backing::Huge2M, size))
        .expect(register(C0, huge, size), OK.charging(size))
        .expect(map(C0, huge, 0, size / 2), OK.charging(facts.default_charge()))
        .expect(unmap(C0, 0, size / 2), OK)
        .expect(remove(C0, 0), OK.releasing(facts.default_charge()))
        .expect(
            create(C0, shift, window, 1),
            starts_at(start).charging(facts.charge(shift, window, 1)),
        )
        .expect(map(C0, huge, start, size), OK)
        .expect(unmap(C0, start, size), OK)
        .expect(unregister(C0, huge, size), OK.releasing(size))
}
