//! What this machine has of what VFIO on POWER needs, as plain data for `tce doctor`.
//!
//! A survey works on any Linux machine, changes nothing (but opening the node of VFIO may load its
//! module), and leaves out what it cannot know. What only a container can tell about a group is a
//! [`probe`](fn@probe) of its own, made on request: it takes the group from the host for a moment.

use std::path::Path;

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{Extension, GroupNumber, Platform, Raw},
    machine::GroupDevice,
};

pub use crate::probe::{ProbeError, Step, probe};
use crate::{
    abi,
    descriptors::{self, Descriptor, Sort},
    ioctl,
    release::{Release, Verdict},
    root::Root,
    sysfs,
    system::{self, Status},
};

/// Modules that the backend is made of, in the order in which they are loaded.
const MODULES: [&str; 3] = ["vfio", "vfio_iommu_spapr_tce", "vfio_pci"];

/// What a machine has. Nothing here is an error: what is missing says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What `uname -r` says; empty if it cannot be read.
    pub kernel: String,
    /// What that release is good for, if it could be understood.
    pub verdict: Option<Verdict>,
    /// What the machine calls itself.
    pub machine: String,
    /// Its platform; `None` if it is no POWER machine.
    pub platform: Option<Platform>,
    /// The kernel's page; `None` if the C library would not tell.
    pub page_shift: Option<PageShift>,
    /// The modules that VFIO needs here.
    pub modules: Vec<Module>,
    /// `/dev/vfio/vfio`.
    pub container: ContainerNode,
    /// The IOMMU groups, in ascending order.
    pub groups: Vec<Group>,
    /// Limits on locked memory; `None` if they cannot be read.
    pub locked_memory: Option<LockedMemoryLimit>,
    /// Pools of huge pages, from the smallest page to the largest.
    pub huge_pages: Vec<HugePagePool>,
}

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: &'static str,
    /// Whether it is there.
    pub state: ModuleState,
}

/// Whether a module is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleState {
    /// Loaded.
    Loaded,
    /// Part of the kernel.
    BuiltIn,
    /// Not loaded, but `modprobe` would find it.
    Loadable,
    /// Nowhere to be seen.
    Missing,
}

/// What became of opening `/dev/vfio/vfio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerNode {
    /// There is none.
    Missing,
    /// It cannot be opened. `ENOTTY`: it can, but is no VFIO container.
    Unopened(Errno),
    /// It can be opened.
    Open {
        /// `VFIO_SPAPR_TCE_v2_IOMMU` is supported.
        spapr_v2: bool,
        /// `VFIO_EEH` is supported, and the platform has it enabled.
        eeh: bool,
    },
}

/// An IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub number: GroupNumber,
    /// Its devices.
    pub devices: Vec<GroupDevice>,
    /// Whether `/dev/vfio/N` exists, which it does once a device of the group is bound to a VFIO
    /// driver.
    pub has_node: bool,
}

impl Group {
    /// Whether the group could be given to VFIO: no device blocks it.
    #[must_use]
    pub fn is_viable(&self) -> bool {
        self.blockers().next().is_none()
    }

    /// The devices that keep the group from being viable.
    pub fn blockers(&self) -> impl Iterator<Item = &GroupDevice> {
        self.devices.iter().filter(|device| device.blocks_group)
    }
}

/// Limits on the memory this process may lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedMemoryLimit {
    /// The soft `RLIMIT_MEMLOCK`; `None` if it is unlimited.
    pub limit: Option<Bytes>,
    /// `CAP_IPC_LOCK` is effective, so the limit does not hold.
    pub is_exempt: bool,
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePagePool {
    /// Their size.
    pub page_shift: PageShift,
    /// How many there are.
    pub total: u64,
    /// How many are in nobody's hands. Some may be promised to somebody.
    pub free: u64,
}

/// Looks at the machine.
#[must_use]
pub fn survey(root: &Root) -> Survey {
    let kernel = root.text("proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    Survey {
        verdict: Release::parse(&kernel).map(Release::verdict),
        machine: system::model(root),
        platform: system::platform(root),
        page_shift: system::page_shift().ok(),
        modules: MODULES.map(|name| Module { name, state: module(root, &kernel, name) }).into(),
        container: container(&root.path("dev/vfio/vfio")),
        groups: sysfs::groups(root).into_iter().map(|number| group(root, number)).collect(),
        locked_memory: locked_memory(root),
        huge_pages: huge_pages(root),
        kernel,
    }
}

fn module(root: &Root, kernel: &str, name: &str) -> ModuleState {
    let listed = |list: &str| {
        let text = root.text(format!("lib/modules/{kernel}/{list}")).unwrap_or_default();
        text.lines().filter_map(module_of_line).any(|listed| listed == name)
    };
    let directory = format!("sys/module/{name}");
    // Only what was loaded has a state of initialisation (`module_add_modinfo_attrs`).
    if root.has(format!("{directory}/initstate")) {
        ModuleState::Loaded
    } else if root.has(&directory) || listed("modules.builtin") {
        ModuleState::BuiltIn
    } else if listed("modules.dep") {
        ModuleState::Loadable
    } else {
        ModuleState::Missing
    }
}

/// The module that a line of `modules.dep` or `modules.builtin` is about, such as
/// `kernel/…/vfio-pci.ko.xz: …`.
fn module_of_line(line: &str) -> Option<String> {
    let path = line.split(':').next()?;
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn container(path: &Path) -> ContainerNode {
    let container = match descriptors::open(path) {
        Ok(descriptor) if descriptor.sort() == Sort::Container => descriptor,
        Ok(_) => return ContainerNode::Unopened(Errno::ENOTTY),
        Err(Errno::ENOENT) => return ContainerNode::Missing,
        Err(errno) => return ContainerNode::Unopened(errno),
    };
    ContainerNode::Open {
        spapr_v2: has(&container, Extension::SpaprTceV2),
        eeh: has(&container, Extension::Eeh),
    }
}

fn has(container: &Descriptor, extension: Extension) -> bool {
    let raw = ioctl::with_number(container, &abi::CHECK_EXTENSION, extension.number());
    matches!(raw, Raw::Returned(value) if value > 0)
}

fn group(root: &Root, number: GroupNumber) -> Group {
    Group {
        number,
        devices: sysfs::devices_of(root, number),
        has_node: root.has(format!("dev/vfio/{number}")),
    }
}

fn locked_memory(root: &Root) -> Option<LockedMemoryLimit> {
    let limit = system::memlock_limit().ok()?;
    let is_exempt = Status::read(root).ok()?.ipc_lock;
    Some(LockedMemoryLimit { limit, is_exempt })
}

fn huge_pages(root: &Root) -> Vec<HugePagePool> {
    const POOLS: &str = "sys/kernel/mm/hugepages";
    let pool = |name: &String| {
        let size = system::kilobytes(&name.strip_prefix("hugepages-")?.replace("kB", " kB"))?;
        let number =
            |file: &str| root.text(format!("{POOLS}/{name}/{file}")).ok()?.trim().parse().ok();
        Some(HugePagePool {
            page_shift: PageShift::of_size(size)?,
            total: number("nr_hugepages")?,
            free: number("free_hugepages")?,
        })
    };
    let mut pools: Vec<_> = root.names(POOLS).iter().filter_map(pool).collect();
    pools.sort_unstable_by_key(|pool| pool.page_shift);
    pools
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{POWERNV_CPUINFO, Tree};

    fn power() -> Tree {
        let tree = Tree::new();
        tree.file("proc/cpuinfo", POWERNV_CPUINFO);
        tree.file("proc/sys/kernel/osrelease", "6.12.107-powerpc64le\n");
        tree.file("proc/self/status", "VmLck:\t0 kB\nVmPin:\t0 kB\nCapEff:\t0000000000004000\n");
        tree
    }

    #[test]
    fn an_empty_tree_is_surveyed_without_an_error() {
        let survey = survey(Tree::new().root());
        assert_eq!((survey.kernel.as_str(), survey.verdict), ("", None));
        assert_eq!((survey.platform, survey.container), (None, ContainerNode::Missing));
        assert_eq!((survey.groups, survey.huge_pages), (vec![], vec![]));
        assert!(survey.modules.iter().all(|module| module.state == ModuleState::Missing));
        assert_eq!(survey.locked_memory, None);
    }

    #[test]
    fn this_machine_is_surveyed_whatever_it_is() {
        let survey = survey(&Root::default());
        assert!(survey.verdict.is_some() && survey.page_shift.is_some());
        assert!(survey.locked_memory.is_some());
        assert_eq!(survey.platform.is_some(), cfg!(target_arch = "powerpc64"));
    }

    #[test]
    fn a_power_machine_is_known_by_its_parts() {
        let survey = survey(power().root());
        assert_eq!(survey.platform, Some(Platform::Powernv));
        assert_eq!(survey.machine, "PowerNV IBM PowerNV (emulated by qemu)");
        assert!(matches!(survey.verdict, Some(Verdict::Traps(_))));
        assert!(survey.locked_memory.is_some_and(|memory| memory.is_exempt));
    }

    #[test]
    fn modules_are_loaded_or_built_in_or_loadable_or_missing() {
        let tree = power();
        let state = |name| module(tree.root(), "6.12.107-powerpc64le", name);
        assert_eq!(state("vfio"), ModuleState::Missing);
        tree.file(
            "lib/modules/6.12.107-powerpc64le/modules.dep",
            "kernel/drivers/vfio/pci/vfio-pci.ko.xz: \
             kernel/drivers/vfio/vfio.ko.xz\nkernel/drivers/vfio/vfio.ko.xz:\n",
        );
        assert_eq!(state("vfio"), ModuleState::Loadable);
        assert_eq!(state("vfio_pci"), ModuleState::Loadable);
        tree.file(
            "lib/modules/6.12.107-powerpc64le/modules.builtin",
            "kernel/drivers/vfio/vfio_iommu_spapr_tce.ko\n",
        );
        assert_eq!(state("vfio_iommu_spapr_tce"), ModuleState::BuiltIn);
        tree.file("sys/module/vfio/initstate", "live\n");
        tree.directory("sys/module/vfio_pci");
        assert_eq!(state("vfio"), ModuleState::Loaded);
        assert_eq!(state("vfio_pci"), ModuleState::BuiltIn);
    }

    #[test]
    fn a_file_in_the_place_of_the_node_is_no_container() {
        let tree = power();
        tree.file("dev/vfio/vfio", "");
        assert_eq!(survey(tree.root()).container, ContainerNode::Unopened(Errno::ENOTTY));
        let inside = tree.root().path("dev/vfio/vfio/more");
        assert_eq!(container(&inside), ContainerNode::Unopened(Errno(20)));
    }

    #[test]
    fn a_group_says_who_blocks_it_and_whether_it_can_be_opened() {
        let tree = power();
        tree.device("0000:01:00.0", 0, "1234:11e8", Some("vfio-pci"));
        tree.device("0001:01:00.0", 1, "8086:10d3", Some("e1000e"));
        tree.file("dev/vfio/0", "");
        let groups = survey(tree.root()).groups;
        let [ours, theirs] = groups.as_slice() else { panic!("{groups:?}") };
        assert!(ours.is_viable() && ours.has_node);
        assert!(!theirs.is_viable() && !theirs.has_node);
        let blockers: Vec<_> = theirs.blockers().map(|device| device.address.as_str()).collect();
        assert_eq!(blockers, ["0001:01:00.0"]);
    }

    #[test]
    fn pools_of_huge_pages_come_by_size() {
        let tree = power();
        for (size, total, free) in [("1048576kB", "2", "2"), ("2048kB", "64", "60")] {
            let pool = format!("sys/kernel/mm/hugepages/hugepages-{size}");
            tree.file(&format!("{pool}/nr_hugepages"), &format!("{total}\n"));
            tree.file(&format!("{pool}/free_hugepages"), &format!("{free}\n"));
        }
        let pools = survey(tree.root()).huge_pages;
        assert_eq!(
            pools,
            [
                HugePagePool { page_shift: PageShift::M2, total: 64, free: 60 },
                HugePagePool { page_shift: PageShift::G1, total: 2, free: 2 },
            ]
        );
    }
}
