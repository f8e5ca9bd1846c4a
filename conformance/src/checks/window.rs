//! Windows: the default one, when it comes about, and how windows go.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Facts, Need, Script, Topic,
    script::{OK, fails, gives, starts_at},
    steps::{C0, at, create, map, register, remove, unmap, unregister},
};
use crate::{outcome::Answer, step::Step};

/// A window that is small to make: 1 GiB of 64K pages.
pub(super) const SHIFT: u32 = 16;
pub(super) const SIZE: u64 = 1 << 30;
/// `VFIO_IOMMU_SPAPR_INFO_DDW`.
const HAS_DYNAMIC_WINDOWS: u32 = 1;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "info-tells-the-pe-not-its-windows",
        topic: Topic::Window,
        title: "GET_INFO tells what a PE could have, not what its container has",
        asserts: "GET_INFO gives the same with the default window pending, after it was \
                  declined, and after another was created.",
        function: "tce_iommu_ioctl",
        trap: "Nothing says which windows exist, where they start or how large they are.",
        engine: "The engine remembers its windows; `ContainerFacts` is about the PE.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let info = || Step::Info { file: C0 };
            let told = || gives(told(facts));
            Script::ready()
                .expect(info(), told())
                .expect(remove(C0, 0), OK)
                .expect(info(), told())
                .prepare(create(C0, SHIFT, SIZE, 1))
                .expect(info(), told())
        },
    },
    Check {
        name: "default-window-comes-with-the-first-map",
        topic: Topic::Window,
        title: "The default window is made, and charged, by the first map",
        asserts: "Neither SET_IOMMU nor REGISTER charges for it; the first MAP charges its table \
                  exactly, the second nothing.",
        function: "tce_iommu_create_default_window",
        trap: "Locked memory is used up by a call that maps one page: 8 MiB on powernv.",
        engine: "`Layouts` counts the default window's charge where a plan brings it about.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            Script::ready()
                .expect(register(C0, at(0), facts.page()), OK.charging(facts.page()))
                .expect(map(C0, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
                .expect(map(C0, at(0), 0x1000, 0x1000), OK)
        },
    },
    Check {
        name: "default-window-comes-with-an-unmap",
        topic: Topic::Window,
        title: "The default window is made even by an unmap",
        asserts: "UNMAP right after REGISTER is 0 and charges the default window's table.",
        function: "tce_iommu_ioctl, tce_iommu_create_default_window",
        trap: "A call that takes away costs memory.",
        engine: "The engine makes no unmap where it mapped nothing.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            Script::ready()
                .expect(register(C0, at(0), facts.page()), OK.charging(facts.page()))
                .expect(unmap(C0, 0, 0x1000), OK.charging(facts.default_charge()))
        },
    },
    Check {
        name: "default-window-comes-with-a-create",
        topic: Topic::Window,
        title: "A CREATE makes the pending default window first, and takes the slot behind it",
        asserts: "The first CREATE charges both tables and answers the second slot's start.",
        function: "tce_iommu_create_window, tce_iommu_create_default_window",
        trap: "Who wants one window gets two, pays for both, and finds it at 1 << 59.",
        engine: "`Engine::create_windows` declines the default window unless the layout has it.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let cost = facts.default_charge() + facts.charge(SHIFT, SIZE, 1);
            Script::ready()
                .expect(create(C0, SHIFT, SIZE, 1), starts_at(facts.slot_starts[1]).charging(cost))
        },
    },
    Check {
        name: "pending-window-is-declined-for-free",
        topic: Topic::Window,
        title: "REMOVE of 0 declines the default window before it is made",
        asserts: "REMOVE of 0 right after SET_IOMMU is 0 and changes no charge; a second one is \
                  EINVAL; MAP is ENXIO then, and makes nothing.",
        function: "tce_iommu_ioctl",
        trap: "It is the only way to have one window, and has to come before the first map.",
        engine: "`Engine::create_windows` declines it first.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(remove(C0, 0), fails(Errno::EINVAL))
                .expect(register(C0, at(0), facts.page()), OK.charging(facts.page()))
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::ENXIO))
        },
    },
    Check {
        name: "removed-default-window-stays-away",
        topic: Topic::Window,
        title: "The default window can be removed with what is mapped, and does not come back",
        asserts: "REMOVE of 0 gives its charge back; MAP is ENXIO then; the memory that was \
                  mapped there is free: UNREGISTER gives its charge back.",
        function: "tce_iommu_remove_window, tce_iommu_clear",
        trap: "A window is removed under live mappings without a word.",
        engine: "Windows end with their leases (`Engine::detach`, `Engine::close`); TCEs are \
                  unmapped first.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .prepare(register(C0, at(0), page))
                .expect(map(C0, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
                .expect(remove(C0, 0), OK.releasing(facts.default_charge()))
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::ENXIO))
                .expect(unregister(C0, at(0), page), OK.releasing(page))
        },
    },
    Check {
        name: "any-address-inside-names-a-window",
        topic: Topic::Window,
        title: "REMOVE takes any address inside a window for its start",
        asserts: "REMOVE of an address in the middle of a window removes it, charge and all; \
                  another is EINVAL.",
        function: "tce_iommu_remove_window, tce_iommu_find_table",
        trap: "A wrong address removes the wrong window.",
        engine: "`Engine` removes windows by their exact start.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow]),
        leaves: None,
        script: |facts| {
            let (start, cost) = (facts.declined_start(), facts.charge(SHIFT, SIZE, 1));
            Script::ready()
                .expect(remove(C0, 0), OK)
                .expect(create(C0, SHIFT, SIZE, 1), starts_at(start).charging(cost))
                .expect(remove(C0, start + SIZE), fails(Errno::EINVAL))
                .expect(remove(C0, start + SIZE / 2 + 1), OK.releasing(cost))
                .expect(remove(C0, start), fails(Errno::EINVAL))
        },
    },
    Check {
        name: "pending-window-fails-other-calls",
        topic: Topic::Window,
        title: "If the default window cannot be made, MAP, UNMAP and CREATE fail with its error",
        asserts: "With a limit on locked memory below its table all three are ENOMEM and charge \
                  nothing; declined, it is no longer in the way.",
        function: "tce_iommu_create_default_window, account_locked_vm",
        trap: "An unmap that fails with ENOMEM is about a window nobody asked for.",
        engine: "The limit is compared with the whole plan's charge first, the default window's \
                  included.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            let refused = || fails(Errno::ENOMEM);
            Script::ready()
                .limited_to(page + facts.default_charge() / 2)
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(map(C0, at(0), 0, 0x1000), refused())
                .expect(unmap(C0, 0, 0x1000), refused())
                .expect(create(C0, SHIFT, SIZE, 1), refused())
                .expect(remove(C0, 0), OK)
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::ENXIO))
        },
    },
];

fn told(facts: &Facts) -> Answer {
    let size = u32::try_from(facts.default_window).unwrap_or(u32::MAX);
    Answer::Info {
        flags: HAS_DYNAMIC_WINDOWS,
        default_window: (u32::try_from(facts.slot_starts[0]).unwrap_or(u32::MAX), size),
        page_sizes: facts.page_sizes,
        limits: (facts.windows_max, facts.levels_max),
    }
}
