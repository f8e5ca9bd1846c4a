//! Clearing TCEs.

use tce_engine::errno::Errno;
use tce_sim::profile::KernelVersion;

use super::{
    Applies, Check, Facts, Kernels, Script, Topic,
    script::{BAD_RANGE, OK, fails},
    steps::{C0, at, map, register, unmap, unregister},
};

/// "powerpc/iommu: Fix the overflow validation in iommu_tce_check_ioba".
const RANGE_IS_CHECKED: Kernels = Kernels::With {
    branches: &[
        KernelVersion::new(6, 1, 189),
        KernelVersion::new(6, 12, 112),
        KernelVersion::new(7, 2, 8),
    ],
    otherwise: "without the fix 0b271f7d7f5e the kernel would clear memory behind the table",
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "unmap-of-nothing-succeeds",
        topic: Topic::Unmap,
        title: "UNMAP of what is not mapped succeeds",
        asserts: "UNMAP of a TCE that was never set is 0, of 1 MiB with one live TCE too, and of \
                  the same a second time.",
        function: "tce_iommu_clear",
        trap: "UNMAP does not say how much it unmapped; a wrong range goes unnoticed.",
        engine: "The plan unmaps what the engine's own table has, and nothing else.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(unmap(C0, 0x10_0000, 0x1000), OK)
                .expect(unmap(C0, 0, 0x10_0000), OK)
                .expect(unmap(C0, 0, 0x10_0000), OK)
        },
    },
    Check {
        name: "unmap-spans-holes",
        topic: Topic::Unmap,
        title: "One UNMAP clears everything in its range, holes or not",
        asserts: "With two TCEs and a hole between them, one UNMAP over all is 0, and the memory \
                  is free: UNREGISTER gives its charge back.",
        function: "tce_iommu_clear",
        trap: "One call, and one invalidation, is enough for a whole range.",
        engine: "An unmap of a plan may span holes (`plan.rs`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(map(C0, at(0), 0x3000, 0x1000), OK)
                .expect(unmap(C0, 0, 0x8000), OK)
                .expect(unregister(C0, at(0), facts.page()), OK.releasing(facts.page()))
        },
    },
    Check {
        name: "misaligned-unmap-returns-one",
        topic: Topic::Unmap,
        title: "UNMAP at a misaligned bus address returns 1, without an errno",
        asserts: "In a window of 4K pages UNMAP of half a page is EINVAL, at a misaligned \
                  address 1.",
        function: "tce_iommu_ioctl, iommu_tce_clear_param_check",
        trap: "As with MAP: a positive result is a failure.",
        engine: "Any result other than 0 is a failure (`Fault`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(unmap(C0, 0, 0x800), fails(Errno::EINVAL))
                .expect(unmap(C0, 0x800, 0x1000), BAD_RANGE)
        },
    },
    Check {
        name: "unmap-past-the-end-returns-one",
        topic: Topic::Unmap,
        title: "UNMAP of a range that leaves its window returns 1, and clears nothing",
        asserts: "UNMAP of the last page and one more is 1, and so is one page more than the \
                  window; the TCE at 0 is still there, and unmapping it frees its memory.",
        function: "iommu_tce_check_ioba",
        trap: "Kernels without the fix return 0 and clear memory behind the table; a range of 4 \
                  GiB made one panic.",
        engine: "`Window::admit` checks the whole range before the call.",
        applies: Applies::ANYWHERE.on(RANGE_IS_CHECKED),
        leaves: None,
        script: |facts| {
            let end = facts.default_window;
            mapped(facts)
                .expect(unmap(C0, end - 0x1000, 0x2000), BAD_RANGE)
                .expect(unmap(C0, 0, end + 0x1000), BAD_RANGE)
                .expect(unmap(C0, 0, 0x1000), OK)
                .expect(unregister(C0, at(0), facts.page()), OK.releasing(facts.page()))
        },
    },
    Check {
        name: "unmap-outside-every-window",
        topic: Topic::Unmap,
        title: "UNMAP that starts in no window is ENXIO",
        asserts: "With only the default window, UNMAP right behind its end and at 1 << 59 is \
                  ENXIO.",
        function: "tce_iommu_find_table",
        trap: "A window that was removed, or wiped with its group, shows only here.",
        engine: "A lease knows whether its window lives; no call is made for one that does not.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .expect(unmap(C0, facts.default_window, 0x1000), fails(Errno::ENXIO))
                .expect(unmap(C0, 1 << 59, 0x1000), fails(Errno::ENXIO))
        },
    },
];

/// A container with a registered page, and one TCE that points to it, at 0.
fn mapped(facts: &Facts) -> Script {
    Script::ready().prepare(register(C0, at(0), facts.page())).prepare(map(C0, at(0), 0, 0x1000))
}
