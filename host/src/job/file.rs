//! A job as it stands in its file. `docs/job.md` describes the format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    deferred::DeferredEntry,
    hints::Hints,
    platform::PlatformEntry,
    size::{PageSize, Size},
    windows::WindowsEntry,
};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JobFile {
    /// What the report calls it.
    pub name: String,
    /// The backend, unless the command line names one.
    pub backend: Option<String>,
    /// Devices by address.
    #[serde(default, rename = "device")]
    pub devices: Vec<DeviceEntry>,
    /// Groups by number, for devices that need not be opened.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// The memory.
    #[serde(default, rename = "region")]
    pub regions: Vec<RegionEntry>,
    /// What is wanted beside the memory.
    #[serde(default)]
    pub demand: DemandEntry,
    /// What only the operator knows of the machine.
    #[serde(default)]
    pub platform: PlatformEntry,
    /// What becomes of windows where policies have no say.
    #[serde(default)]
    pub windows: WindowsEntry,
    /// The leases.
    #[serde(default, rename = "lease")]
    pub leases: Vec<LeaseEntry>,
    /// What is done under the leases.
    #[serde(default, rename = "step")]
    pub steps: Vec<StepEntry>,
    /// What the operator sets for the policies.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// What another program did with the same demand.
    pub recorded: Option<Recorded>,
}

/// A device that takes part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeviceEntry {
    /// Its PCI address, such as `0000:01:00.0`.
    pub address: String,
}

/// What backs a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Private anonymous memory.
    #[default]
    Anonymous,
    /// A memory file.
    Memfd,
    /// Huge pages.
    Hugetlb,
}

/// What devices may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessEntry {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Both.
    #[default]
    ReadWrite,
}

/// A piece of memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegionEntry {
    /// Its name in this job.
    pub name: String,
    /// Its size.
    pub size: Size,
    /// The page that must back it at least. Needed for huge pages; else the system page.
    pub page: Option<PageSize>,
    /// The smallest piece of it that is mapped by itself; absent: the page that backs it.
    pub granule: Option<PageSize>,
    /// What it is made of.
    #[serde(default)]
    pub memory: Memory,
    /// What devices may do to it.
    #[serde(default)]
    pub access: AccessEntry,
    /// The bus address it must have.
    pub at: Option<Size>,
    /// What else policies are told of it.
    #[serde(default)]
    pub hints: Hints,
}

/// Who chooses bus addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IovaEntry {
    /// Whoever holds the lease.
    Holder,
    /// The engine.
    #[default]
    Engine,
}

/// What is wanted beside the memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DemandEntry {
    /// More memory that is expected later.
    pub growth: Size,
    /// How many address bits the devices drive.
    pub device_mask_bits: u8,
    /// Who chooses bus addresses.
    pub iova: IovaEntry,
    /// What else policies are told of it.
    pub hints: Hints,
}

impl Default for DemandEntry {
    fn default() -> Self {
        Self {
            growth: Size(0),
            device_mask_bits: 64,
            iova: IovaEntry::Engine,
            hints: Hints::default(),
        }
    }
}

/// A lease that is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LeaseEntry {
    /// Its name in this job.
    pub name: String,
    /// Who asks for it.
    pub holder: String,
    /// The regions it is for.
    pub regions: Vec<String>,
    /// How much of the window; absent: the size of its regions.
    pub size: Option<Size>,
    /// The bus address it must start at.
    pub at: Option<Size>,
    /// What its mappings may allow.
    #[serde(default)]
    pub access: AccessEntry,
    /// The most TCEs it wants set at once; absent: as many as its size has.
    pub tces: Option<u64>,
    /// For how many milliseconds.
    pub duration: Option<u64>,
    /// How its unmaps are put off; absent: they are made at once.
    pub deferred: Option<DeferredEntry>,
    /// Whether it is asked for by a step, and not before the first.
    #[serde(default)]
    pub later: bool,
    /// What else policies are told of the request.
    #[serde(default)]
    pub hints: Hints,
}

/// One change of a batch: `map` or `unmap`, and what goes with it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EditEntry {
    /// Map this region, or a part of it.
    pub map: Option<String>,
    /// Unmap from here in the lease.
    pub unmap: Option<Size>,
    /// To map: where in the lease; absent: at its start.
    pub at: Option<Size>,
    /// To map: from where in the region; absent: from its start.
    pub offset: Option<Size>,
    /// How much. To map, absent: the rest of the region.
    pub size: Option<Size>,
    /// To map: what devices may do; absent: what the region allows.
    pub access: Option<AccessEntry>,
}

/// One step of the script.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", deny_unknown_fields, rename_all = "kebab-case")]
#[serde(rename_all_fields = "kebab-case")]
pub enum StepEntry {
    /// Maps all regions of a lease, one behind the other.
    MapAll {
        /// The lease.
        lease: String,
    },
    /// Unmaps the whole lease.
    UnmapAll {
        /// The lease.
        lease: String,
    },
    /// Applies edits, all or none.
    Batch {
        /// The lease.
        lease: String,
        /// The edits.
        edits: Vec<EditEntry>,
    },
    /// A ring of buffers: each turn gives the device the next ones and takes back the oldest ones.
    Ring {
        /// The lease.
        lease: String,
        /// The region that the buffers lie in, one behind the other.
        region: String,
        /// Where the ring starts in the lease.
        #[serde(default)]
        at: Size,
        /// Places of the ring. Where a turn renews fewer, that many more stand empty after it.
        entries: u32,
        /// A buffer's size.
        entry_size: Size,
        /// Buffers that one turn renews.
        batch: u32,
        /// How many turns.
        turns: u32,
    },
    /// Takes a lease back.
    Revoke {
        /// The lease.
        lease: String,
    },
    /// Asks for a lease that is for later.
    Lease {
        /// The lease.
        lease: String,
    },
    /// Asks for more time.
    Renew {
        /// The lease.
        lease: String,
        /// For how many milliseconds from now; absent: until it is given back.
        duration: Option<u64>,
    },
    /// Moves a lease into a window of its own, where it has more room.
    Grow {
        /// The lease.
        lease: String,
        /// How much it shall have.
        size: Size,
    },
    /// Lets one of several groups go.
    Leave {
        /// The group, by number.
        group: Option<u32>,
        /// The group, by one of its devices.
        device: Option<String>,
    },
}

/// What another program did with the same demand, counted from a recording of its kernel calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recorded {
    /// The program and how it was run.
    pub program: String,
    /// `REGISTER_MEMORY` calls.
    pub register_calls: u64,
    /// `UNREGISTER_MEMORY` calls.
    pub unregister_calls: u64,
    /// `TCE_CREATE` calls, failed ones included.
    pub create_calls: u64,
    /// `MAP_DMA` calls.
    pub map_calls: u64,
    /// `UNMAP_DMA` calls.
    pub unmap_calls: u64,
    /// Its window's size in bytes.
    pub window_bytes: u64,
    /// Its window's page in bytes.
    pub page_bytes: u64,
    /// What the kernel charged for its tables, in bytes, leaks included.
    pub table_charge_bytes: u64,
    /// The most locked memory it was seen with, in bytes.
    pub locked_bytes: u64,
    /// What went wrong in it, a sentence each.
    #[serde(default)]
    pub defects: Vec<String>,
}
