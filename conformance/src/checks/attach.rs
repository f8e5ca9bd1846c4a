//! Containers, groups, and the backend that groups bring into a container.

use tce_engine::errno::Errno;
use tce_sim::profile::Eeh;

use super::{
    Applies, Check, Facts, Script, Topic,
    script::{OK, OPENED, SPAPR_TCE_V2, fails, gives, value},
    steps::{C0, C1, G0, at, close, create, join, leave, map, open, register, remove, unmap},
};
use crate::{
    outcome::Answer,
    step::{File, Step},
};

/// Numbers of backends: sPAPR's first version, EEH's extension, and those of other machines.
const SPAPR_TCE_V1: u32 = 2;
const EEH: u32 = 5;
const TYPE1: u32 = 1;
const TYPE1_V2: u32 = 3;

const INFO: Step = Step::Info { file: C0 };
const SET_IOMMU: Step = Step::SetIommu { file: C0, backend: SPAPR_TCE_V2 };
const STATUS: Step = Step::GroupStatus { file: G0 };

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "calls-need-a-backend",
        topic: Topic::Attach,
        title: "A container without a group answers no call but CHECK_EXTENSION",
        asserts: "On a fresh container SET_IOMMU, GET_INFO, REGISTER, CREATE and MAP are EINVAL, \
                  and nothing is charged.",
        function: "vfio_ioctl_set_iommu, vfio_fops_unl_ioctl",
        trap: "A container is privileged only by the groups in it; a descriptor of one alone is \
                  good for nothing.",
        engine: "`Engine::attach` comes first; without a group every call is refused before the \
                  kernel is asked.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            Script::new()
                .prepare(open(C0))
                .expect(SET_IOMMU, fails(Errno::EINVAL))
                .expect(INFO, fails(Errno::EINVAL))
                .expect(register(C0, at(0), facts.page()), fails(Errno::EINVAL))
                .expect(create(C0, 12, 1 << 30, 1), fails(Errno::EINVAL))
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::EINVAL))
        },
    },
    Check {
        name: "extensions-are-told",
        topic: Topic::Attach,
        title: "CHECK_EXTENSION tells of both versions of the backend, of EEH, and of nothing else",
        asserts: "On a fresh container extensions 2 and 7 are 1, 5 (EEH) is 1 where the machine \
                  has it and else 0, 1 and 3 (Type1) are 0.",
        function: "vfio_ioctl_check_extension, tce_iommu_ioctl",
        trap: "It is the only call that says whether the second version of the backend is there, \
                  before anything is attached.",
        engine: "`Engine::attach` asks for extension 7 before it attaches a group.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let asks = |extension| Step::CheckExtension { file: C0, extension };
            let eeh = i32::from(facts.eeh == Eeh::Enabled);
            Script::new()
                .prepare(open(C0))
                .expect(asks(SPAPR_TCE_V1), value(1))
                .expect(asks(SPAPR_TCE_V2), value(1))
                .expect(asks(EEH), value(eeh))
                .expect(asks(TYPE1), OK)
                .expect(asks(TYPE1_V2), OK)
        },
    },
    Check {
        name: "backend-is-chosen-once",
        topic: Topic::Attach,
        title: "A container with a group gets one backend, once",
        asserts: "SET_IOMMU of Type1 is ENODEV, of 7 is 0, and of 7 again EINVAL.",
        function: "vfio_ioctl_set_iommu, tce_iommu_open",
        trap: "A second SET_IOMMU does not reset a container.",
        engine: "`Engine::attach` sets the backend with the first group only.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            let type1 = Step::SetIommu { file: C0, backend: TYPE1_V2 };
            Script::new()
                .prepare(open(C0))
                .prepare(open(G0))
                .prepare(join(G0, C0))
                .expect(type1, fails(Errno::ENODEV))
                .expect(SET_IOMMU, OK)
                .expect(SET_IOMMU, fails(Errno::EINVAL))
        },
    },
    Check {
        name: "group-is-opened-once",
        topic: Topic::Attach,
        title: "A group's node can be opened by one at a time",
        asserts: "The second open of /dev/vfio/GROUP is EBUSY; after a close it succeeds.",
        function: "vfio_group_fops_open",
        trap: "The descriptor is the authority over the devices; it is passed on, not opened \
                  twice.",
        engine: "`Engine::attach` keeps the descriptor it opened until `Engine::detach`.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::new()
                .expect(open(G0), OPENED)
                .expect(open(G0), fails(Errno::EBUSY))
                .expect(close(G0), OK)
                .expect(open(G0), OPENED)
        },
    },
    Check {
        name: "group-is-in-one-container",
        topic: Topic::Attach,
        title: "A group is in one container at most",
        asserts: "SET_CONTAINER of an attached group is EINVAL, UNSET_CONTAINER of one that is \
                  in none too; in between both are 0.",
        function: "vfio_group_ioctl_set_container, vfio_group_ioctl_unset_container",
        trap: "EINVAL here means the group's state, not an argument.",
        engine: "`Engine` knows its groups and refuses a second attach before the call.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::new()
                .prepare(open(C0))
                .prepare(open(C1))
                .prepare(open(G0))
                .expect(leave(G0), fails(Errno::EINVAL))
                .expect(join(G0, C0), OK)
                .expect(join(G0, C1), fails(Errno::EINVAL))
                .expect(leave(G0), OK)
                .expect(join(G0, C1), OK)
        },
    },
    Check {
        name: "group-joins-containers-only",
        topic: Topic::Attach,
        title: "SET_CONTAINER takes a container's descriptor and no other",
        asserts: "SET_CONTAINER with a group's descriptor is EBADFD, with none EBADF.",
        function: "vfio_group_ioctl_set_container",
        trap: "EBADFD is an unusual errno that means the wrong kind of file.",
        engine: "Descriptors are typed (`ContainerFd`, `GroupFd`); one that is adopted is looked \
                  at first (`Kernel::kind`).",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            Script::new()
                .prepare(open(G0))
                .expect(join(G0, G0), fails(Errno::EBADFD))
                .expect(join(G0, File::Nothing), fails(Errno::EBADF))
        },
    },
    Check {
        name: "status-follows-the-container",
        topic: Topic::Attach,
        title: "GROUP_GET_STATUS tells whether the group is viable and in a container",
        asserts: "The flags are viable; viable and in a container after SET_CONTAINER; viable \
                  again after UNSET_CONTAINER.",
        function: "vfio_group_ioctl_get_status",
        trap: "A group with a device of the host's is not viable, and its SET_CONTAINER would be \
                  EPERM.",
        engine: "`Engine::attach` refuses a group that is not viable, by name.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            let is = |in_container| gives(Answer::Status { viable: true, in_container });
            Script::new()
                .prepare(open(C0))
                .prepare(open(G0))
                .expect(STATUS, is(false))
                .prepare(join(G0, C0))
                .expect(STATUS, is(true))
                .prepare(leave(G0))
                .expect(STATUS, is(false))
        },
    },
    Check {
        name: "last-group-takes-the-backend",
        topic: Topic::Attach,
        title: "With its last group a container loses its backend: windows, TCEs and registrations",
        asserts: "UNSET_CONTAINER of the only group gives back all that was charged, for memory \
                  and window; then GET_INFO, REGISTER and UNMAP are EINVAL, and CHECK_EXTENSION \
                  still answers.",
        function: "vfio_group_detach_container, tce_iommu_release",
        trap: "Whoever holds a container's descriptor holds nothing: the backend dies with the \
                  last group.",
        engine: "`Engine::detach` of the last group ends every lease, window and region handle \
                  at once.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let all = facts.page() + facts.default_charge();
            let asks = Step::CheckExtension { file: C0, extension: SPAPR_TCE_V2 };
            mapped(facts)
                .expect(leave(G0), OK.releasing(all))
                .expect(INFO, fails(Errno::EINVAL))
                .expect(register(C0, at(0), facts.page()), fails(Errno::EINVAL))
                .expect(unmap(C0, 0, 0x1000), fails(Errno::EINVAL))
                .expect(asks, value(1))
        },
    },
    Check {
        name: "returning-group-finds-an-empty-backend",
        topic: Topic::Attach,
        title: "A group that comes back finds a fresh backend, without windows and registrations",
        asserts: "After UNSET_CONTAINER, SET_CONTAINER and SET_IOMMU, MAP is EPERM as on a new \
                  container, a page can be registered anew, and the default window is pending \
                  again.",
        function: "tce_iommu_open, tce_iommu_attach_group",
        trap: "Handles from before the detach name things that are gone, and nothing says so.",
        engine: "Windows have generations that are never used again; an old handle is refused.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            mapped(facts)
                .prepare(leave(G0))
                .prepare(join(G0, C0))
                .expect(SET_IOMMU, OK)
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::EPERM))
                .expect(register(C0, at(0), facts.page()), OK.charging(facts.page()))
                .expect(remove(C0, 0), OK)
                .expect(map(C0, at(0), 0, 0x1000), fails(Errno::ENXIO))
        },
    },
    Check {
        name: "closing-the-container-keeps-its-backend",
        topic: Topic::Attach,
        title: "Closing a container's descriptor tears nothing down while a group is in it",
        asserts: "The close changes no charge; the close of the group's descriptor gives \
                  everything back.",
        function: "vfio_fops_release, vfio_group_detach_container",
        trap: "Memory stays pinned, and devices can reach it, after a container was closed.",
        engine: "`Engine::close` detaches the groups before it closes the container.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let all = facts.page() + facts.default_charge();
            mapped(facts).expect(close(C0), OK).expect(close(G0), OK.releasing(all))
        },
    },
    Check {
        name: "closing-the-group-detaches-it",
        topic: Topic::Attach,
        title: "Closing a group's descriptor takes the group out of its container",
        asserts: "The close of the only group's descriptor gives everything back, and GET_INFO \
                  is EINVAL then.",
        function: "vfio_group_fops_release",
        trap: "A descriptor that is dropped by accident ends every mapping.",
        engine: "The engine owns the descriptors of its groups until `Engine::detach`.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |facts| {
            let all = facts.page() + facts.default_charge();
            mapped(facts).expect(close(G0), OK.releasing(all)).expect(INFO, fails(Errno::EINVAL))
        },
    },
    Check {
        name: "unknown-calls-depend-on-the-backend",
        topic: Topic::Attach,
        title: "A call that a container does not know is EINVAL without a backend and ENOTTY \
                  with one",
        asserts: "GROUP_GET_STATUS on a container's descriptor is EINVAL before SET_IOMMU and \
                  ENOTTY after it.",
        function: "vfio_fops_unl_ioctl, tce_iommu_ioctl",
        trap: "ENOTTY cannot be used to find out whether a kernel knows a call.",
        engine: "Descriptors are typed; no call is made on the wrong kind.",
        applies: Applies::ANYWHERE,
        leaves: None,
        script: |_| {
            let asks = Step::GroupStatus { file: C0 };
            Script::new()
                .prepare(open(C0))
                .expect(asks.clone(), fails(Errno::EINVAL))
                .prepare(open(G0))
                .prepare(join(G0, C0))
                .prepare(SET_IOMMU)
                .expect(asks, fails(Errno::ENOTTY))
        },
    },
];

/// A container with a registered page, of which one TCE of the default window points to.
fn mapped(facts: &Facts) -> Script {
    Script::ready()
        .expect(register(C0, at(0), facts.page()), OK.charging(facts.page()))
        .expect(map(C0, at(0), 0, 0x1000), OK.charging(facts.default_charge()))
}
