//! Registered memory: what it costs, how exact the kernel is about it, and how it leaks.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Facts, Leaves, Need, Script, Topic,
    script::{BLOCK, OK, SPAPR_TCE_V2, fails},
    steps::{
        C0, C1, G0, G1, allocate, at, in_block, join, leave, map, open, register, unmap, unregister,
    },
};
use crate::step::{Backing, Step};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "registration-charges-its-size",
        topic: Topic::Memory,
        title: "Registered memory is charged by its size, and given back exactly",
        asserts: "REGISTER of 1 MiB raises the locked memory by 1 MiB, UNREGISTER lowers it by \
                  as much; no window is made.",
        function: "tce_iommu_register_pages, mm_iommu_do_alloc",
        trap: "What is registered counts against RLIMIT_MEMLOCK together with the tables of \
                  windows.",
        engine: "`Engine::register` compares the charge after the call with what it computed \
                  before.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::ready()
                .expect(register(C0, at(0), BLOCK), OK.charging(BLOCK))
                .expect(unregister(C0, at(0), BLOCK), OK.releasing(BLOCK))
        },
    },
    Check {
        name: "memory-file-is-registered",
        topic: Topic::Memory,
        title: "Memory of a memory file is registered like anonymous memory",
        asserts: "REGISTER and UNREGISTER of 1 MiB of a memfd are 0 and charge 1 MiB.",
        function: "mm_iommu_do_alloc, pin_user_pages",
        trap: "Long-term pins of files with dirty tracking are refused (EFAULT); memfd, tmpfs \
                  and hugetlbfs work.",
        engine: "`VfioMachine` allocates anonymous memory, memory files and huge pages, nothing \
                  else.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::ready()
                .prepare(allocate(Backing::Memfd, BLOCK))
                .expect(register(C0, in_block(1, 0), BLOCK), OK.charging(BLOCK))
                .expect(unregister(C0, in_block(1, 0), BLOCK), OK.releasing(BLOCK))
        },
    },
    Check {
        name: "registration-needs-whole-pages",
        topic: Topic::Memory,
        title: "Memory is registered in whole pages of the kernel's",
        asserts: "REGISTER of an address or a size that is no multiple of the kernel's page is \
                  EINVAL and charges nothing; so is UNREGISTER.",
        function: "tce_iommu_register_pages, tce_iommu_unregister_pages",
        trap: "Most POWER kernels have 64K pages; a size that is a multiple of 4K is not enough \
                  there.",
        engine: "`Regions` checks a range against the kernel's page before the call.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .expect(register(C0, at(1), page), fails(Errno::EINVAL))
                .expect(register(C0, at(page / 2), page), fails(Errno::EINVAL))
                .expect(register(C0, at(0), page + 1), fails(Errno::EINVAL))
                .expect(register(C0, at(0), page / 2), fails(Errno::EINVAL))
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(unregister(C0, at(1), page), fails(Errno::EINVAL))
                .expect(unregister(C0, at(0), page / 2), fails(Errno::EINVAL))
        },
    },
    Check {
        name: "registrations-do-not-overlap",
        topic: Topic::Memory,
        title: "A range that overlaps a registered one is refused",
        asserts: "With two pages registered, REGISTER of exactly them is EBUSY, of one of them, \
                  of more than them, and of half of them with a page behind is EINVAL, each \
                  without a charge; REGISTER of the next page is 0.",
        function: "tce_iommu_register_pages, mm_iommu_do_alloc",
        trap: "Memory cannot be registered again for another purpose, nor extended in place.",
        engine: "`Regions` knows what is registered and refuses an overlap by name.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .expect(register(C0, at(2 * page), 2 * page), OK.charging(2 * page))
                .expect(register(C0, at(2 * page), 2 * page), fails(Errno::EBUSY))
                .expect(register(C0, at(2 * page), page), fails(Errno::EINVAL))
                .expect(register(C0, at(page), 4 * page), fails(Errno::EINVAL))
                .expect(register(C0, at(3 * page), 2 * page), fails(Errno::EINVAL))
                .expect(register(C0, at(4 * page), page), OK.charging(page))
        },
    },
    Check {
        name: "registration-is-undone-exactly",
        topic: Topic::Memory,
        title: "Only exactly what was registered can be unregistered",
        asserts: "With two pages registered, UNREGISTER of either page alone and of three is \
                  ENOENT; of both it is 0, and again ENOENT.",
        function: "tce_iommu_unregister_pages, mm_iommu_get",
        trap: "A large region cannot be given back in parts.",
        engine: "`Engine::unregister` takes a region's handle, not a range.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .expect(register(C0, at(0), 2 * page), OK.charging(2 * page))
                .expect(unregister(C0, at(0), page), fails(Errno::ENOENT))
                .expect(unregister(C0, at(page), page), fails(Errno::ENOENT))
                .expect(unregister(C0, at(0), 3 * page), fails(Errno::ENOENT))
                .expect(unregister(C0, at(0), 2 * page), OK.releasing(2 * page))
                .expect(unregister(C0, at(0), 2 * page), fails(Errno::ENOENT))
        },
    },
    Check {
        name: "unregister-needs-a-bound-container",
        topic: Topic::Memory,
        title: "UNREGISTER on a container that nobody used yet is EPERM",
        asserts: "UNREGISTER as the first call after SET_IOMMU is EPERM, even of an odd range.",
        function: "tce_iommu_ioctl",
        trap: "EPERM here is not about rights: no process is bound to the container yet.",
        engine: "Without a registered region there is no handle to unregister.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            Script::ready()
                .expect(unregister(C0, at(0), facts.page()), fails(Errno::EPERM))
                .expect(unregister(C0, at(1), facts.page()), fails(Errno::EPERM))
        },
    },
    Check {
        name: "locked-limit-holds",
        topic: Topic::Memory,
        title: "Memory beyond the limit on locked memory is not registered",
        asserts: "With a limit of one page REGISTER of two pages is ENOMEM and charges nothing; \
                  of one page it is 0, and of another ENOMEM.",
        function: "mm_iommu_do_alloc, account_locked_vm",
        trap: "The limit is the process's, and the tables of windows count against it too.",
        engine: "`Engine` computes the charge and refuses by name what would not fit \
                  (`LockedMemory`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .limited_to(page)
                .expect(register(C0, at(0), 2 * page), fails(Errno::ENOMEM))
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(register(C0, at(page), page), fails(Errno::ENOMEM))
        },
    },
    Check {
        name: "unregister-after-unmap-frees",
        topic: Topic::Memory,
        title: "Memory that no TCE points to is given back in full",
        asserts: "After MAP and UNMAP of a page, UNREGISTER is 0 and lowers the locked memory; \
                  the page can be registered anew.",
        function: "mm_iommu_put, mm_iommu_mapped_dec",
        trap: "The order is unmap, then unregister; the other way round memory is lost.",
        engine: "`Engine::unregister` refuses a region while a TCE of any lease points into it.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(map(C0, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
                .expect(unmap(C0, 0, 0x1000), OK)
                .expect(unregister(C0, at(0), page), OK.releasing(page))
                .expect(register(C0, at(0), page), OK.charging(page))
        },
    },
    Check {
        name: "mapping-stays-allowed",
        topic: Topic::Memory,
        title: "Once memory was registered, a container goes on to take maps without any",
        asserts: "After REGISTER and UNREGISTER, MAP of that memory is EINVAL (not registered) \
                  instead of EPERM (never registered), and makes the default window.",
        function: "tce_iommu_register_pages, tce_iommu_ioctl",
        trap: "EPERM and EINVAL tell two states apart that look the same; the failed map costs a \
                  window.",
        engine: "`Regions::locate` refuses the edit before any call.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let page = facts.page();
            Script::ready()
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(unregister(C0, at(0), page), OK.releasing(page))
                .expect(
                    map(C0, at(0), 0, 0x1000),
                    fails(Errno::EINVAL).charging(facts.default_charge()),
                )
        },
    },
    Check {
        name: "containers-share-regions",
        topic: Topic::Memory,
        title: "Two containers of a process that register the same range share it, charged once",
        asserts: "REGISTER in a second container is 0 without a charge; the first UNREGISTER \
                  releases nothing, the second everything.",
        function: "tce_iommu_register_pages, mm_iommu_get, mm_iommu_put",
        trap: "What is charged is not what each container says it registered.",
        engine: "`Engine` takes each charge from the kernel's count after the call (`Charge`).",
        applies: Applies::ANYWHERE.with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            let page = facts.page();
            two_containers()
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(register(C1, at(0), page), OK)
                .expect(unregister(C0, at(0), page), OK)
                .expect(unregister(C1, at(0), page), OK.releasing(page))
        },
    },
    Check {
        name: "overlap-counts-across-containers",
        topic: Topic::Memory,
        title: "A range may not overlap what another container of the process registered",
        asserts: "With two pages registered in one container, REGISTER of one of them in another \
                  is EINVAL without a charge; UNREGISTER of what only the other registered is \
                  ENOENT.",
        function: "mm_iommu_do_alloc, tce_iommu_unregister_pages",
        trap: "Containers of one process are not independent of each other.",
        engine: "One owner lays out the memory of all its containers; a refusal is told with its \
                  range.",
        applies: Applies::ANYWHERE.with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            let page = facts.page();
            two_containers()
                .expect(register(C0, at(0), 2 * page), OK.charging(2 * page))
                .expect(register(C1, at(page), page), fails(Errno::EINVAL))
                .expect(register(C1, at(4 * page), page), OK.charging(page))
                .expect(unregister(C1, at(0), 2 * page), fails(Errno::ENOENT))
        },
    },
    Check {
        name: "registration-belongs-to-the-process",
        topic: Topic::Memory,
        title: "A container maps memory that only another container of the process registered",
        asserts: "Once the second container has registered some page, its MAP of a page that \
                  only the first registered is 0.",
        function: "tce_iommu_prereg_ua_to_hpa, mm_iommu_lookup",
        trap: "Registration does not say which devices may reach the memory; only the TCEs do.",
        engine: "`Regions::locate` admits an edit only into a region of its own container.",
        applies: Applies::ANYWHERE.with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| mapped_by_another(facts).expect(unmap(C1, 0, 0x1000), OK),
    },
    Check {
        name: "unregister-of-mapped-memory-leaks",
        topic: Topic::Memory,
        title: "UNREGISTER of memory that is mapped says yes, and the memory is lost",
        asserts: "UNREGISTER is 0 and releases nothing; the page can still be mapped; REGISTER \
                  of more than it is EINVAL from then on; registered again, unmapped and \
                  unregistered it stays charged.",
        function: "tce_iommu_unregister_pages, tce_iommu_prereg_free, mm_iommu_put",
        trap: "The memory stays pinned, charged and within the device's reach, with no owner, \
                  until the machine boots anew.",
        engine: "`Engine::unregister` refuses while a TCE or a quarantine may point into the \
                  region.",
        applies: Applies::ANYWHERE,
        leaves: Some(Leaves::PinnedPage),
        script: leaking,
    },
    Check {
        name: "closing-what-others-map-leaks",
        topic: Topic::Memory,
        title: "A container that goes while another one maps its memory loses the memory",
        asserts: "With the page mapped by the second container UNSET_CONTAINER of the first's \
                  group is 0 and releases nothing, nor does the second's UNMAP.",
        function: "tce_iommu_release, tce_iommu_prereg_free, mm_iommu_put",
        trap: "As with UNREGISTER of mapped memory, without an UNREGISTER: the page stays pinned \
               and charged, with no owner, until the machine boots anew.",
        engine: "`Regions::locate` admits an edit only into a region of its own container.",
        applies: Applies::ANYWHERE.with(&[Need::TwoGroups]),
        leaves: Some(Leaves::PinnedPage),
        script: |facts| {
            mapped_by_another(facts).expect(leave(G0), OK).expect(unmap(C1, 0, 0x1000), OK)
        },
    },
];

/// Two containers with a backend, of one group each.
pub(super) fn two_containers() -> Script {
    Script::ready()
        .prepare(open(C1))
        .prepare(open(G1))
        .prepare(join(G1, C1))
        .prepare(Step::SetIommu { file: C1, backend: SPAPR_TCE_V2 })
}

/// Two containers, the second of which maps a page that only the first registered.
pub(super) fn mapped_by_another(facts: &Facts) -> Script {
    let page = facts.page();
    two_containers()
        .expect(register(C0, at(0), page), OK.charging(page))
        .expect(register(C1, at(2 * page), page), OK.charging(page))
        .expect(map(C1, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
}

fn leaking(facts: &Facts) -> Script {
    let page = facts.page();
    Script::ready()
        .expect(register(C0, at(0), page), OK.charging(page))
        .expect(map(C0, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
        .expect(unregister(C0, at(0), page), OK)
        .expect(map(C0, at(0), 0x1000, 0x1000), OK)
        .expect(register(C0, at(0), 2 * page), fails(Errno::EINVAL))
        .expect(register(C0, at(0), page), OK)
        .expect(unmap(C0, 0, 0x2000), OK)
        .expect(unregister(C0, at(0), page), OK)
}
