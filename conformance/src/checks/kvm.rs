//! KVM as the external user of a window: tables of guests, and the link between a virtual machine and groups.
//!
//! A group that is added to a link always gets a lease, since the kernel warns when one leaves that never had any. No
//! lease is asked for a group without windows of its own: KVM would take the host's.

use tce_engine::errno::Errno;

use super::{
    Applies, Check, Facts, Leaves, Need, Script, Topic,
    memory::mapped_by_another,
    script::{OK, OPENED, fails, starts_at},
    steps::{C0, G0, G1, T0, close, create, leave, open, remove},
    window::{SHIFT, SIZE},
};
use crate::step::{File, Step};

const ADD: Step = Step::AddGroup { group: G0 };
const DELETE: Step = Step::DeleteGroup { group: G0 };

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "guest-table-arguments-are-checked",
        topic: Topic::Kvm,
        title: "A guest's table has pages of 4K to 16G, some TCEs, and a number of its own",
        asserts: "KVM_CREATE_SPAPR_TCE_64 with no TCEs, or with pages of 2K or 32G, is EINVAL; a \
                  number that is taken is EBUSY and charges nothing.",
        function: "kvm_vm_ioctl_create_spapr_tce",
        trap: "The table is charged to the process like the window it shadows.",
        engine: "`Engine::lend` computes the table from the lease, predicts its charge, and \
                  refuses a number that another lease of the guest has.",
        applies: Applies::ANYWHERE.with(&[Need::Kvm]),
        leaves: None,
        script: |_| {
            let refused = || fails(Errno::EINVAL);
            Script::new()
                .prepare(open(File::Vm))
                .expect(table(0, 12, 0, 0), refused())
                .expect(table(0, 11, 0, 16), refused())
                .expect(table(0, 35, 0, 16), refused())
                .expect(table(0, 12, 0, 16), OPENED.at_any_cost())
                .expect(
                    Step::CreateTable { table: 1, liobn: 1, page_shift: 12, offset: 0, size: 16 },
                    fails(Errno::EBUSY),
                )
        },
    },
    Check {
        name: "link-takes-groups",
        topic: Topic::Kvm,
        title: "A virtual machine's link takes groups, and no containers",
        asserts: "GROUP_ADD of a container's descriptor is EINVAL, of none EBADF; a second link \
                  is EBUSY.",
        function: "kvm_vfio_file_add, kvm_vfio_create",
        trap: "Since 6.6 it takes devices' descriptors as well, of which SET_SPAPR_TCE makes a \
                  kernel warning.",
        engine: "`Kernel::add_group` takes a `GroupFd`; `Engine::link_guest` refuses a second link.",
        applies: Applies::ANYWHERE.with(&[Need::Kvm]),
        leaves: None,
        script: |_| {
            Script::ready()
                .prepare(open(File::Vm))
                .expect(Step::CreateLink, OPENED)
                .expect(Step::CreateLink, fails(Errno::EBUSY))
                .expect(Step::AddGroup { group: C0 }, fails(Errno::EINVAL))
                .expect(Step::AddGroup { group: File::Nothing }, fails(Errno::EBADF))
        },
    },
    Check {
        name: "kvm-knows-only-added-groups",
        topic: Topic::Kvm,
        title: "A group gets a lease only between GROUP_ADD and GROUP_DEL",
        asserts: "SET_SPAPR_TCE and GROUP_DEL before GROUP_ADD are ENOENT; a second GROUP_ADD is \
                  EEXIST; with it the lease is 0, and after GROUP_DEL ENOENT.",
        function: "kvm_vfio_file_add, kvm_vfio_file_del, kvm_vfio_file_set_spapr_tce",
        trap: "GROUP_DEL ends the lease of every window of the group.",
        engine: "A group is told with a lease's table. To take one lease back all groups are taken \
                  from KVM, and given again for what stays lent.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow, Need::Kvm]),
        leaves: None,
        script: |facts| {
            windowed(facts)
                .prepare(equal_table(facts))
                .expect(attach(0), fails(Errno::ENOENT))
                .expect(DELETE, fails(Errno::ENOENT))
                .expect(ADD, OK)
                .expect(ADD, fails(Errno::EEXIST))
                .expect(attach(0), OK)
                .expect(DELETE, OK)
                .expect(attach(0), fails(Errno::ENOENT))
        },
    },
    Check {
        name: "kvm-takes-windows-that-fit",
        topic: Topic::Kvm,
        title: "KVM takes a window for a table with the same start, no smaller pages and no \
                  larger size",
        asserts: "SET_SPAPR_TCE is EINVAL for a table that is larger than the window, starts \
                  elsewhere or has smaller pages; 0 for an equal one, for the same again, and \
                  for one of larger pages.",
        function: "kvm_spapr_tce_attach_iommu_group",
        trap: "EINVAL also means that no window of the group fits; which number is wrong is not \
                  said.",
        engine: "`Engine::lend` refuses each by its name (`LoanRefusal`), before any call, and gives \
                  each table once.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow, Need::Kvm]),
        leaves: None,
        script: fitting,
    },
    Check {
        name: "kvm-does-not-hold-the-window",
        topic: Topic::Kvm,
        title: "A window and its container go away under KVM's lease",
        asserts: "With a lease standing REMOVE is 0 and gives the charge back, UNSET_CONTAINER \
                  is 0, and then GROUP_DEL and the closes are 0.",
        function: "tce_iommu_remove_window, kvm_spapr_tce_release_iommu_group",
        trap: "The lease finds nothing to release after that, and lives until the table's \
                  descriptor closes.",
        engine: "In the order of a take-down KVM goes first.",
        applies: Applies::ANYWHERE.with(&[Need::SecondWindow, Need::Kvm]),
        leaves: None,
        script: |facts| {
            windowed(facts)
                .prepare(equal_table(facts))
                .expect(ADD, OK)
                .expect(attach(0), OK)
                .expect(
                    remove(C0, facts.declined_start()),
                    OK.releasing(facts.charge(SHIFT, SIZE, 1)),
                )
                .expect(leave(G0), OK)
                .expect(DELETE, OK)
                .expect(close(T0), OK.at_any_cost())
                .expect(close(File::Link), OK)
        },
    },
    Check {
        name: "closing-the-link-lets-the-newest-group-go-first",
        topic: Topic::Kvm,
        title: "Groups that only a link holds leave when it closes, the newest first",
        asserts: "Two groups in a container each are added to a link, the second container's \
                  first, and their descriptors closed. The second container maps a page that \
                  only the first registered: closing the link gives back the default window, \
                  and not the page, which the container that goes first leaves mapped.",
        function: "kvm_vfio_release, task_work_run",
        trap: "Who goes first decides what leaks.",
        engine: "An engine closes its groups itself, in the fixed order of a take-down.",
        applies: Applies::ANYWHERE.with(&[Need::TwoGroups, Need::Kvm]),
        leaves: Some(Leaves::PinnedPage),
        script: |facts| {
            let page = facts.page();
            mapped_by_another(facts)
                .prepare(open(File::Vm))
                .prepare(open(File::Link))
                .expect(Step::AddGroup { group: G1 }, OK)
                .expect(ADD, OK)
                .expect(close(G0), OK)
                .expect(close(G1), OK)
                .expect(close(File::Link), OK.releasing(page + facts.default_charge()))
        },
    },
];

const fn table(number: u8, page_shift: u32, offset: u64, size: u64) -> Step {
    let liobn = 1;
    Step::CreateTable { table: number, liobn, page_shift, offset, size }
}

const fn attach(table: u8) -> Step {
    Step::AttachTable { group: G0, table: File::Table(table) }
}

/// A container with one window, and a virtual machine with a link.
fn windowed(facts: &Facts) -> Script {
    Script::ready()
        .prepare(remove(C0, 0))
        .expect(
            create(C0, SHIFT, SIZE, 1),
            starts_at(facts.declined_start()).charging(facts.charge(SHIFT, SIZE, 1)),
        )
        .prepare(open(File::Vm))
        .prepare(open(File::Link))
}

/// A table like the window.
fn equal_table(facts: &Facts) -> Step {
    table(0, SHIFT, facts.declined_start() >> SHIFT, SIZE >> SHIFT)
}

fn fitting(facts: &Facts) -> Script {
    let start = facts.declined_start();
    let like = |number: u8, page_shift: u32, start: u64, size: u64| Step::CreateTable {
        table: number,
        liobn: u64::from(number) + 1,
        page_shift,
        offset: start >> page_shift,
        size: size >> page_shift,
    };
    let refused = || fails(Errno::EINVAL);
    windowed(facts)
        .prepare(like(0, SHIFT, start, SIZE))
        .prepare(like(1, SHIFT, start, 2 * SIZE))
        .prepare(like(2, SHIFT, start + SIZE, SIZE))
        .prepare(like(3, 12, start, SIZE / 16))
        .prepare(like(4, 24, start, SIZE))
        .expect(ADD, OK)
        .expect(attach(1), refused())
        .expect(attach(2), refused())
        .expect(attach(3), refused())
        .expect(attach(0), OK)
        .expect(attach(0), OK)
        .expect(attach(4), OK)
        .expect(DELETE, OK)
}
