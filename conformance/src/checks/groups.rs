//! Several groups in one container.

use tce_engine::errno::Errno;
use tce_sim::profile::KernelVersion;

use super::{
    Applies, Check, Facts, Kernels, Need, Script, Topic,
    script::{OK, fails},
    steps::{C0, G0, G1, at, join, leave, map, open, register, remove, unmap, unregister},
};
use crate::step::Step;

/// "vfio/spapr: Always clear TCEs before unsetting the window".
pub(super) const DETACH_CLEARS: Kernels = Kernels::With {
    branches: &[KernelVersion::new(6, 10, 10), KernelVersion::new(6, 11, 0)],
    otherwise: "kernels before 4ba2fdff2eb1 leave the TCEs alone",
};
/// The fix of CVE-2025-21713.
const REFUSES_SECOND_GROUP: Kernels = Kernels::With {
    branches: &[KernelVersion::new(6, 12, 13), KernelVersion::new(6, 13, 2)],
    otherwise: "the kernel would touch a window that was never set (CVE-2025-21713)",
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "groups-share-a-container",
        topic: Topic::Groups,
        title: "On powernv a second group joins a container with its windows, and the first may \
                  leave",
        asserts: "SET_CONTAINER of a second group is 0 and charges nothing; the first group \
                  leaves, and the backend stays with windows and registrations; with the second \
                  group all is given back.",
        function: "tce_iommu_attach_group, tce_iommu_detach_group",
        trap: "Every table of the container is programmed into every group: the container is the \
                  isolation boundary.",
        engine: "`Engine::attach` adds groups; holders that do not trust each other get a \
                  container each.",
        applies: Applies::POWERNV.with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            let page = facts.page();
            mapped(facts)
                .prepare(open(G1))
                .expect(join(G1, C0), OK)
                .expect(map(C0, at(0), 0x1000, 0x1000), OK)
                .expect(unmap(C0, 0, 0x2000), OK)
                .expect(leave(G0), OK)
                .expect(map(C0, at(0), 0, 0x1000), OK)
                .expect(leave(G1), OK.releasing(page + facts.default_charge()))
        },
    },
    Check {
        name: "leaving-group-wipes-every-window",
        topic: Topic::Groups,
        title: "A group that leaves takes the TCEs of all groups with it",
        asserts: "After the second group left, the window still takes maps at no cost, but what \
                  was mapped before is gone: the memory is free, UNREGISTER gives its charge \
                  back.",
        function: "tce_iommu_release_ownership, tce_iommu_clear",
        trap: "The devices that stay lose their memory, and nobody is told.",
        engine: "`Engine::detach` refuses while other groups stay.",
        applies: Applies::POWERNV.on(DETACH_CLEARS).with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            let page = facts.page();
            mapped(facts)
                .prepare(open(G1))
                .expect(join(G1, C0), OK)
                .expect(leave(G1), OK)
                .expect(unregister(C0, at(0), page), OK.releasing(page))
                .expect(register(C0, at(0), page), OK.charging(page))
                .expect(map(C0, at(0), 0, 0x1000), OK)
        },
    },
    Check {
        name: "partition-takes-one-group",
        topic: Topic::Groups,
        title: "In a partition a container has one group: a second one makes its windows \
                  impossible",
        asserts: "A second group joins while there is no window; then the first MAP, which would \
                  make the default window, is EPERM.",
        function: "spapr_tce_set_window, tce_iommu_create_window",
        trap: "The attach succeeds, and a call that has nothing to do with it fails.",
        engine: "`Engine::attach` refuses a second group in a partition.",
        applies: Applies::PSERIES.on(REFUSES_SECOND_GROUP).with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            Script::ready()
                .prepare(register(C0, at(0), facts.page()))
                .prepare(open(G1))
                .expect(join(G1, C0), OK)
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::EPERM))
        },
    },
    Check {
        name: "partition-window-bars-a-second-group",
        topic: Topic::Groups,
        title: "In a partition no group joins a container that has a window",
        asserts: "SET_CONTAINER of a second group is EPERM once the default window was made; the \
                  first goes on.",
        function: "spapr_tce_set_window, tce_iommu_take_ownership",
        trap: "Whether a group can join depends on whether anything was mapped before.",
        engine: "`Engine::attach` refuses a second group in a partition.",
        applies: Applies::PSERIES.on(REFUSES_SECOND_GROUP).with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            mapped(facts)
                .prepare(open(G1))
                .expect(join(G1, C0), fails(Errno::EPERM))
                .expect(map(C0, at(0), 0x1000, 0x1000), OK)
        },
    },
    Check {
        name: "groups-in-two-containers-are-apart",
        topic: Topic::Groups,
        title: "Two containers have windows of their own at the same addresses",
        asserts: "With the default window declined in the first container, the second still has \
                  its own: a MAP of 0 is ENXIO in the one and 0 in the other.",
        function: "tce_iommu_find_table",
        trap: "A bus address means nothing without its container.",
        engine: "An `Engine` is one container; its handles are of no use in another.",
        applies: Applies::ANYWHERE.with(&[Need::TwoGroups]),
        leaves: None,
        script: |facts| {
            let page = facts.page();
            let other = crate::step::File::Container(1);
            Script::ready()
                .prepare(open(other))
                .prepare(open(G1))
                .prepare(join(G1, other))
                .prepare(Step::SetIommu { file: other, backend: super::script::SPAPR_TCE_V2 })
                .prepare(remove(C0, 0))
                .prepare(register(C0, at(0), page))
                .prepare(register(other, at(0), page))
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::ENXIO))
                .expect(map(other, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
        },
    },
];

/// A container of one group with a registered page, and one TCE that points to it, at 0.
fn mapped(facts: &Facts) -> Script {
    Script::ready().prepare(register(C0, at(0), facts.page())).prepare(map(C0, at(0), 0, 0x1000))
}
