//! What procfs and the C library say about the machine and this process.

use nix::{
    sys::resource::{RLIM_INFINITY, Resource, getrlimit},
    unistd::{SysconfVar, sysconf},
};
use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{LockedMemory, Platform},
};

use crate::{
    descriptors::{errno_of, from_nix},
    root::Root,
};

/// `CAP_IPC_LOCK`'s bit in a set of capabilities.
const CAP_IPC_LOCK: u32 = 14;

/// Which firmware interface the kernel drives. `None` if this is no POWER machine, or one of
/// another platform.
pub(crate) fn platform(root: &Root) -> Option<Platform> {
    let cpuinfo = root.text("proc/cpuinfo").unwrap_or_default();
    match field(&cpuinfo, "platform") {
        Some("PowerNV") => Some(Platform::Powernv),
        Some("pSeries") => Some(Platform::Pseries),
        _ if root.has("proc/device-tree/ibm,opal") => Some(Platform::Powernv),
        _ if root.has("proc/device-tree/rtas") => Some(Platform::Pseries),
        _ => None,
    }
}

/// What the machine says it is, for a person to read.
pub(crate) fn model(root: &Root) -> String {
    let cpuinfo = root.text("proc/cpuinfo").unwrap_or_default();
    let named = ["machine", "model name", "cpu"].iter().find_map(|key| field(&cpuinfo, key));
    named.unwrap_or("unknown").to_owned()
}

/// The kernel's page.
pub(crate) fn page_shift() -> Result<PageShift, Errno> {
    let size = sysconf(SysconfVar::PAGE_SIZE).map_err(from_nix)?;
    size.and_then(|size| u64::try_from(size).ok())
        .and_then(|size| PageShift::of_size(Bytes::new(size)))
        .ok_or(Errno::EINVAL)
}

/// The soft `RLIMIT_MEMLOCK`; `None` if it is unlimited.
pub(crate) fn memlock_limit() -> Result<Option<Bytes>, Errno> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(from_nix)?;
    Ok((soft != RLIM_INFINITY).then_some(Bytes::new(soft)))
}

/// What `/proc/self/status` says about this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// `VmLck` and `VmPin`.
    pub(crate) memory: LockedMemory,
    /// `CAP_IPC_LOCK` is effective, so no limit holds.
    pub(crate) ipc_lock: bool,
}

impl Status {
    /// Reads it; `EIO` if it does not look as it should.
    pub(crate) fn read(root: &Root) -> Result<Self, Errno> {
        let text = root.text("proc/self/status").map_err(errno_of)?;
        Self::parse(&text).ok_or(Errno::EIO)
    }

    fn parse(text: &str) -> Option<Self> {
        let capabilities = u64::from_str_radix(field(text, "CapEff")?, 16).ok()?;
        Some(Self {
            memory: LockedMemory {
                locked: kilobytes(field(text, "VmLck")?)?,
                pinned: kilobytes(field(text, "VmPin")?)?,
            },
            ipc_lock: capabilities >> CAP_IPC_LOCK & 1 == 1,
        })
    }
}

/// A size as procfs writes it, such as `8192 kB`.
pub(crate) fn kilobytes(text: &str) -> Option<Bytes> {
    let kilobytes: u64 = text.strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024).map(Bytes::new)
}

/// The value behind `key:` at the start of a line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim_end() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{POWERNV_CPUINFO, PSERIES_CPUINFO, Tree};

    const STATUS: &str = "Name:\ttce\nVmLck:\t    8256 kB\nVmPin:\t      64 \
                          kB\nCapPrm:\t0000000000004000\nCapEff:\t0000000000004000\n";

    #[test]
    fn the_platform_is_what_the_kernel_says_it_is() {
        let tree = Tree::new();
        assert_eq!(platform(tree.root()), None);
        tree.file("proc/cpuinfo", POWERNV_CPUINFO);
        assert_eq!(platform(tree.root()), Some(Platform::Powernv));
        tree.file("proc/cpuinfo", PSERIES_CPUINFO);
        assert_eq!(platform(tree.root()), Some(Platform::Pseries));
        assert_eq!(model(tree.root()), "CHRP IBM pSeries (emulated by qemu)");
    }

    #[test]
    fn the_device_tree_helps_where_cpuinfo_is_silent() {
        let tree = Tree::new();
        tree.directory("proc/device-tree/ibm,opal");
        assert_eq!(platform(tree.root()), Some(Platform::Powernv));
    }

    #[test]
    fn a_laptop_has_no_platform() {
        let tree = Tree::new();
        tree.file("proc/cpuinfo", "processor\t: 0\nmodel name\t: A Laptop CPU\n");
        assert_eq!(platform(tree.root()), None);
        assert_eq!(model(tree.root()), "A Laptop CPU");
    }

    #[test]
    fn locked_and_pinned_memory_are_read_in_bytes() {
        let status = Status::parse(STATUS).unwrap();
        assert_eq!(status.memory.locked, Bytes::kib(8256));
        assert_eq!(status.memory.pinned, Bytes::kib(64));
    }

    #[test]
    fn only_bit_14_of_the_effective_set_lifts_the_limit() {
        assert!(Status::parse(STATUS).unwrap().ipc_lock);
        let without = STATUS.replace("CapEff:\t0000000000004000", "CapEff:\t0000000000008000");
        assert!(!Status::parse(&without).unwrap().ipc_lock);
    }

    #[test]
    fn a_status_that_lacks_a_line_is_no_status() {
        assert_eq!(Status::parse("Name:\ttce\nVmLck:\t1 kB\n"), None);
        assert_eq!(kilobytes("12 MB"), None);
        assert_eq!(kilobytes("18446744073709551615 kB"), None);
    }

    #[test]
    fn this_machine_answers() {
        let root = Root::default();
        assert!(Status::read(&root).is_ok());
        assert!(page_shift().unwrap() >= PageShift::K4);
        assert!(memlock_limit().is_ok());
    }
}
