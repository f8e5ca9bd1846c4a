//! The processes whose calls are read: their descriptors and memory, as `/proc` shows them. Reading another process's
//! needs the right to trace it.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use tce_engine::{
    addr::{Bytes, HostAddr, PageShift},
    kernel::{DescriptorKind, Fd, GroupNumber, Platform},
};

use crate::{
    descriptors,
    root::Root,
    system::{self, Status, kilobytes},
    tracee::Tid,
};

/// What a descriptor number of a process stands for.
#[must_use]
pub fn kind_of(process: Tid, fd: Fd) -> DescriptorKind {
    descriptors::kind_in(&process.to_string(), fd)
}

/// The number of the group that an open group descriptor of a process is.
///
/// The node's minor number is another one. Its name tells, or where the program knows it under another name, sysfs.
#[must_use]
pub fn group_of(process: Tid, fd: Fd) -> Option<GroupNumber> {
    let root = Root::default();
    let link = format!("proc/{process}/fd/{}", fd.raw());
    let number = |name: Option<String>| name.and_then(|name| name.parse().ok()).map(GroupNumber);
    number(root.link_name(&link)).or_else(|| {
        let (major, minor) = descriptors::device_of(&root.path(link))?;
        number(root.link_name(format!("sys/dev/char/{major}:{minor}")))
    })
}

/// The process that a thread belongs to.
#[must_use]
pub fn process_of(thread: Tid) -> Option<Tid> {
    status_field(thread, "Tgid")?.parse().ok().map(Tid::new)
}

/// The locked memory of a process (`VmLck`): what the kernel charged it with.
#[must_use]
pub fn locked_memory(process: Tid) -> Option<Bytes> {
    kilobytes(&status_field(process, "VmLck")?)
}

fn status_field(process: Tid, name: &str) -> Option<String> {
    let text = Root::default().text(format!("proc/{process}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The smallest page that backs a range of a process's memory. The kernel walks the page tables of the process for it,
/// up to the range's end: it takes the longer, the more memory that is.
#[must_use]
pub fn smallest_page(process: Tid, address: HostAddr, size: Bytes) -> Option<Bytes> {
    let maps = File::open(Root::default().path(format!("proc/{process}/smaps"))).ok()?;
    smallest_page_in(BufReader::new(maps), address.raw(), address.raw().checked_add(size.raw())?)
}

fn smallest_page_in(maps: impl BufRead, start: u64, end: u64) -> Option<Bytes> {
    let mut smallest: Option<Bytes> = None;
    let mut overlaps = false;
    for line in maps.lines().map_while(Result::ok) {
        if let Some((from, to)) = range(&line) {
            if from >= end {
                break;
            }
            overlaps = to > start;
        } else if overlaps && let Some(size) = line.strip_prefix("KernelPageSize:") {
            let size = kilobytes(size.trim())?;
            smallest = Some(smallest.map_or(size, |it| it.min(size)));
        }
    }
    smallest
}

/// The addresses of a mapping, from the line that begins its description.
fn range(line: &str) -> Option<(u64, u64)> {
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

/// The platform of this machine; `None` if it is no POWER machine.
#[must_use]
pub fn platform() -> Option<Platform> {
    system::platform(&Root::default())
}

/// This kernel's page.
#[must_use]
pub fn page_shift() -> Option<PageShift> {
    system::page_shift().ok()
}

/// The limit on locked memory that holds for this process and what it starts; `None` if none does.
#[must_use]
pub fn locked_limit() -> Option<Bytes> {
    let is_exempt = Status::read(&Root::default()).is_ok_and(|status| status.ipc_lock);
    if is_exempt { None } else { system::memlock_limit().ok().flatten() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
10000000-10200000 rw-p 00000000 00:00 0
Size:               2048 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
VmFlags: rd wr
3fff00000000-3fff00400000 rw-s 00000000 00:0f 3   /dev/hugepages/rtemap_0
KernelPageSize:     2048 kB
3fff00400000-3fff00410000 rw-p 00000000 00:00 0
KernelPageSize:       64 kB
";

    fn smallest(start: u64, end: u64) -> Option<Bytes> {
        smallest_page_in(SMAPS.as_bytes(), start, end)
    }

    #[test]
    fn the_smallest_page_of_all_mappings_in_a_range_counts() {
        let huge = 0x3fff_0000_0000;
        assert_eq!(smallest(huge, huge + 0x20_0000), Some(Bytes::mib(2)));
        assert_eq!(smallest(huge + 0x20_0000, huge + 0x40_0001), Some(Bytes::kib(64)));
        assert_eq!(smallest(0x1000_0000, huge + 1), Some(Bytes::kib(4)));
    }

    #[test]
    fn a_range_without_memory_has_no_page() {
        assert_eq!(smallest(0x2000_0000, 0x2000_1000), None);
        assert_eq!(smallest(0, 0x1000_0000), None);
    }

    #[test]
    fn this_process_shows_its_memory() {
        let here = Tid::new(i32::try_from(std::process::id()).unwrap());
        let byte = Box::new(1_u8);
        let address = u64::try_from((&raw const *byte).expose_provenance()).unwrap();
        let page = page_shift().unwrap().bytes();
        assert_eq!(smallest_page(here, HostAddr::new(address), Bytes::new(1)), Some(page));
        assert!(locked_memory(here).is_some());
        assert_eq!(process_of(here), Some(here));
    }

    #[test]
    fn descriptors_of_a_process_have_a_kind() {
        let here = Tid::new(i32::try_from(std::process::id()).unwrap());
        let null = File::open("/dev/null").unwrap();
        let fd = Fd::new(std::os::fd::AsRawFd::as_raw_fd(&null));
        assert_eq!(kind_of(here, fd), DescriptorKind::Other("/dev/null".to_owned()));
        assert_eq!(kind_of(here, Fd::new(i32::MAX)), DescriptorKind::Closed);
        assert_eq!(group_of(here, fd), None);
    }
}
