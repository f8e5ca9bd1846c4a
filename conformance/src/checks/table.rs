//! Tables of windows on powernv: which can be made, where they start, and what they cost.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Facts, Script, Topic,
    script::{BAD_RANGE, OK, fails, starts_at},
    steps::{C0, at, create, map, register, remove, unmap},
    window::{SHIFT, SIZE},
};

/// Levels beyond what any kernel takes.
const LEVELS_MAX: u32 = 5;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "slots-are-taken-in-order",
        topic: Topic::Window,
        title: "A powernv host has two windows: the first at 0, the second at 1 << 59",
        asserts: "With the default window declined CREATE answers 0, then 1 << 59, then ENOSPC \
                  without a charge; after REMOVE of 0 the next CREATE answers 0.",
        function: "tce_iommu_find_free_table, pnv_pci_ioda2_create_table",
        trap: "The start follows the free slot; nobody can choose it.",
        engine: "`Layouts::candidates` knows each slot's start; one that lies elsewhere is given \
                  back.",
        applies: Applies::POWERNV,
        leaves: None,
        script: |facts| {
            let cost = facts.charge(SHIFT, SIZE, 1);
            let make = || create(C0, SHIFT, SIZE, 1);
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(make(), starts_at(0).charging(cost))
                .expect(make(), starts_at(1 << 59).charging(cost))
                .expect(make(), fails(Errno::ENOSPC))
                .expect(remove(C0, 0), OK.releasing(cost))
                .expect(make(), starts_at(0).charging(cost))
        },
    },
    Check {
        name: "tables-charge-what-is-computed",
        topic: Topic::Window,
        title: "A window costs its table and the user-space copy of it, in full, however it is \
                  filled",
        asserts: "CREATE of windows of 4K and 64K pages, of one and two levels, charges what the \
                  formula says; REMOVE gives it back.",
        function: "pnv_pci_ioda2_get_table_size, account_locked_vm",
        trap: "A table with levels is charged as if it were full, though its lower levels are \
                  made by maps.",
        engine: "`Geometry` computes the charge, and the engine compares it after the call.",
        applies: Applies::POWERNV,
        leaves: None,
        script: |facts| {
            let shapes = [(12, 1 << 30, 1), (12, 1 << 30, 2), (16, 1 << 30, 1), (16, 1 << 36, 2)];
            let script = Script::ready().prepare(remove(C0, 0));
            shapes.into_iter().fold(script, |script, (shift, size, levels)| {
                let cost = facts.charge(shift, size, levels);
                script
                    .expect(create(C0, shift, size, levels), starts_at(0).charging(cost))
                    .expect(remove(C0, 0), OK.releasing(cost))
            })
        },
    },
    Check {
        name: "impossible-levels-are-refused-and-leak",
        topic: Topic::Window,
        title: "For each page size, one level too many is EINVAL, and its charge is never given \
                  back",
        asserts: "For each page size CREATE with the most levels that the arithmetic allows is \
                  0; with one more it is EINVAL, and the locked memory grows by that table all \
                  the same.",
        function: "pnv_pci_ioda2_table_alloc_pages, tce_iommu_create_table",
        trap: "GET_INFO says 5 levels, few of which work; who probes upwards leaks the charge of \
                  each attempt.",
        engine: "`Geometry` computes the levels; the engine never probes.",
        applies: Applies::POWERNV,
        leaves: None,
        script: levels,
    },
    Check {
        name: "tables-beyond-an-allocation-are-refused-and-leak",
        topic: Topic::Window,
        title: "A table of which one level is larger than 16 MiB is ENOMEM, and its charge is \
                  never given back",
        asserts: "CREATE of 16 GiB of 4K pages with one level (32 MiB of TCEs) is ENOMEM, and \
                  the locked memory grows by the table and its copy; with two levels it is made.",
        function: "pnv_pci_ioda2_table_do_alloc_pages, tce_iommu_create_table",
        trap: "ENOMEM is not about memory: more levels are needed.",
        engine: "`Geometry` offers only tables whose levels can be allocated.",
        applies: Applies::POWERNV,
        leaves: None,
        script: |facts| {
            let (shift, size) = (12, 16 << 30);
            let cost = |levels| facts.charge(shift, size, levels);
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(create(C0, shift, size, 1), fails(Errno::ENOMEM).charging(cost(1)))
                .expect(create(C0, shift, size, 2), starts_at(0).charging(cost(2)))
        },
    },
    Check {
        name: "odd-windows-are-refused",
        topic: Topic::Window,
        title: "CREATE refuses pages that are not offered, odd sizes, and no or six levels",
        asserts: "Each is EINVAL, and leaves the locked memory as it was.",
        function: "tce_iommu_create_table, pnv_pci_ioda2_get_table_size",
        trap: "EINVAL says no more than that some number is wrong.",
        engine: "`Layouts::check` takes candidates only.",
        applies: Applies::POWERNV,
        leaves: None,
        script: |_| {
            let refused = || fails(Errno::EINVAL);
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(create(C0, 13, SIZE, 1), refused())
                .expect(create(C0, SHIFT, 3 << 30, 1), refused())
                .expect(create(C0, SHIFT, SIZE, 0), refused())
                .expect(create(C0, SHIFT, SIZE, LEVELS_MAX + 1), refused())
        },
    },
    Check {
        name: "small-tables-are-rounded-up",
        topic: Topic::Window,
        title: "A table smaller than a page of the kernel's fills it, and the window grows with it",
        asserts: "A window of 16 TCEs takes maps right behind its end, up to as many TCEs as a \
                  page holds; the map behind them is ENXIO.",
        function: "pnv_pci_ioda2_table_alloc_pages",
        trap: "The kernel accepts addresses outside the window that was asked for.",
        engine: "`Window::admit` goes by the size that was asked for.",
        applies: Applies::POWERNV,
        leaves: None,
        script: |facts| {
            let asked = 16 * 0x1000;
            let real = facts.page() / 8 * 0x1000;
            Script::ready()
                .prepare(register(C0, at(0), facts.page()))
                .expect(remove(C0, 0), OK)
                .expect(create(C0, 12, asked, 1), starts_at(0).charging(2 * facts.page()))
                .expect(map(C0, at(0), asked, 0x1000), OK)
                .expect(map(C0, at(0), real - 0x1000, 0x1000), OK)
                .expect(map(C0, at(0), real, 0x1000), fails(Errno::ENXIO))
                .expect(unmap(C0, real - 0x1000, 0x1000), OK)
                .expect(unmap(C0, asked + 1, 0x1000), BAD_RANGE)
        },
    },
];

fn levels(facts: &Facts) -> Script {
    let script = Script::ready().prepare(remove(C0, 0));
    facts.page_shifts().fold(script, |script, shift| {
        // A table of so few TCEs that each level is as small as it can be.
        let size = 512 << shift;
        let deepest = facts.deepest_levels(shift).min(LEVELS_MAX);
        let cost = |levels| facts.charge(shift, size, levels);
        let made = script
            .expect(create(C0, shift, size, deepest), starts_at(0).charging(cost(deepest)))
            .expect(remove(C0, 0), OK.releasing(cost(deepest)));
        if deepest == LEVELS_MAX {
            return made;
        }
        let beyond = deepest + 1;
        made.expect(create(C0, shift, size, beyond), fails(Errno::EINVAL).charging(cost(beyond)))
    })
}
