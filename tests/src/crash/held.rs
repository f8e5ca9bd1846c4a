//! What a Linux machine holds for its processes: memory that is pinned, locked or gone, and devices.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use tce_engine::machine::{GroupDevice, Machine};

/// What must be the same before a process came and after it has died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    /// Pages that drivers have pinned (`FOLL_PIN`), in the whole system.
    pub pinned_pages: i64,
    /// KiB that processes have locked, by their own accounts (`VmLck`).
    pub locked_kib: u64,
    /// KiB that are locked, by the system's (`Mlocked`).
    pub mlocked_kib: u64,
    /// Huge pages that are free.
    pub free_huge_pages: u64,
    /// Who drives which device.
    pub devices: Vec<GroupDevice>,
    /// Lines of the kernel's log that complain.
    pub complaints: Vec<String>,
}

/// What the machine holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// What must be the same.
    pub exact: Exact,
    /// KiB that are to be had (`MemAvailable`).
    pub available_kib: u64,
    /// KiB of the kernel's own that tables' copies are taken from (`VmallocUsed`).
    pub vmalloc_kib: u64,
}

/// Memory comes and goes with caches and whoever else there is; a registration or a table of the busy process is
/// larger than this.
const AVAILABLE_SLACK_KIB: u64 = 8 << 10;
const VMALLOC_SLACK_KIB: u64 = 256;

/// What begins a complaint in the kernel's log.
const COMPLAINTS: [&str; 5] = ["WARNING:", "BUG:", "Oops", "Call Trace", "soft lockup"];

impl Held {
    /// Looks.
    ///
    /// # Errors
    /// If the machine does not tell.
    pub fn now<M: Machine>(machine: &M) -> Result<Self> {
        let meminfo = read("/proc/meminfo")?;
        let groups = machine.groups().into_iter();
        let exact = Exact {
            pinned_pages: pinned_pages()?,
            locked_kib: locked_by_processes()?,
            mlocked_kib: field(&meminfo, "Mlocked:")?,
            free_huge_pages: field(&meminfo, "HugePages_Free:")?,
            devices: groups.flat_map(|group| machine.devices_of(group)).collect(),
            complaints: complaints()?,
        };
        let available_kib = field(&meminfo, "MemAvailable:")?;
        Ok(Self { exact, available_kib, vmalloc_kib: field(&meminfo, "VmallocUsed:")? })
    }

    /// Makes sure that nothing was lost since `before`.
    ///
    /// # Errors
    /// What is held now and was not before.
    pub fn is_no_more_than(&self, before: &Self) -> Result<()> {
        let (was, is) = (&before.exact, &self.exact);
        ensure!(was == is, "the machine held {was:?} and holds {is:?}");
        let (was, is) = (before.available_kib, self.available_kib);
        ensure!(is + AVAILABLE_SLACK_KIB >= was, "{was} KiB were available and {is} KiB are");
        let (was, is) = (before.vmalloc_kib, self.vmalloc_kib);
        ensure!(is <= was + VMALLOC_SLACK_KIB, "the kernel had {was} KiB mapped and has {is} KiB");
        Ok(())
    }
}

fn pinned_pages() -> Result<i64> {
    // Each processor counts for itself, and adds that up now and then; or when this is read.
    read("/proc/sys/vm/stat_refresh")?;
    let counts = read("/proc/vmstat")?;
    let count = |name| field(&counts, name).and_then(|count| Ok(i64::try_from(count)?));
    Ok(count("nr_foll_pin_acquired")? - count("nr_foll_pin_released")?)
}

/// The sum of what all processes say of themselves.
fn locked_by_processes() -> Result<u64> {
    let mut locked = 0;
    for entry in fs::read_dir("/proc")? {
        // A process may end meanwhile; the kernel's own have no memory and no such line.
        let status = fs::read_to_string(entry?.path().join("status")).unwrap_or_default();
        locked += field(&status, "VmLck:").unwrap_or(0);
    }
    Ok(locked)
}

/// KiB that a process says it has locked; 0 if there is no such process.
pub(super) fn locked_by(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    field(&status, "VmLck:").unwrap_or(0)
}

fn complaints() -> Result<Vec<String>> {
    let output = Command::new("dmesg").output().context("running dmesg")?;
    ensure!(output.status.success(), "dmesg: {}", output.status);
    let log = String::from_utf8_lossy(&output.stdout);
    let is_complaint = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    Ok(log.lines().filter(is_complaint).map(str::to_owned).collect())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let found = lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()));
    let number = found.flatten().with_context(|| format!("this kernel does not tell {name}"))?;
    number.parse().with_context(|| format!("{name} {number}"))
}
