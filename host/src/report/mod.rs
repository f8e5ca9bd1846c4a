//! What a run did: one document, shown as text or as JSON.
//!
//! `docs/report.md` describes the JSON. Fields are only ever added; [`FORMAT`] changes if one changes its meaning.

pub(crate) mod text;

use serde::{Deserialize, Serialize};
use tce_engine::Applied;

use crate::{exit::Exit, job::file::Recorded, policy::Fault};

pub use text::render;

/// The version of the document.
pub const FORMAT: &str = "tce-run/1";

/// The whole document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// The job's name.
    pub job: String,
    /// The backend: `vfio`, or `sim:` and the profile.
    pub backend: String,
    /// How policies were executed: `cranelift` or `pulley`.
    pub policy_compiler: String,
    /// The policies that took part, the built-in one last.
    pub policies: Vec<PolicyEntry>,
    /// What the container is like.
    pub container: ContainerEntry,
    /// Every decision, in order.
    pub decisions: Vec<DecisionEntry>,
    /// Every window, by slot.
    pub windows: Vec<WindowEntry>,
    /// Every region.
    pub regions: Vec<RegionEntry>,
    /// Every lease.
    pub leases: Vec<LeaseEntry>,
    /// What the script did.
    pub work: WorkEntry,
    /// Kernel calls by kind, the whole run.
    pub calls: CallsEntry,
    /// What was locked at most, and what was left at the end.
    pub locked: LockedEntry,
    /// What another program did with the same demand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recorded: Option<Recorded>,
}

/// A policy that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyEntry {
    /// Its name.
    pub name: String,
    /// `component` or `built-in`.
    pub kind: String,
    /// SHA-256 of the component's file, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// What it is asked for.
    pub decides: Vec<String>,
    /// Whether it only watches.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub shadow: bool,
    /// Why it is asked no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ejected: Option<String>,
}

/// What a container is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEntry {
    /// `powernv` or `pseries`.
    pub platform: String,
    /// The kernel's page in bytes.
    pub system_page: u64,
    /// Page sizes of windows in bytes, ascending.
    pub page_sizes: Vec<u64>,
    /// How many windows there can be.
    pub windows_max: u8,
    /// The most levels that the platform reports.
    pub levels_max: u8,
    /// The most TCEs of a dynamic window, as far as the job or a refusal of the firmware's told it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dynamic_tces_max: Option<u64>,
    /// Bus addresses to keep clear of.
    pub reserved: Vec<ReservedEntry>,
    /// Enhanced error handling is there.
    pub eeh: bool,
    /// The groups, in the order in which they were attached.
    pub groups: Vec<u32>,
    /// The devices that were opened.
    pub devices: Vec<String>,
    /// The locked-memory limit in bytes; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locked_limit: Option<u64>,
}

/// Bus addresses to keep clear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedEntry {
    /// The first.
    pub start: u64,
    /// How many bytes.
    pub size: u64,
    /// What lies there.
    pub what: String,
}

/// How a decision came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The policy answered, and the engine granted the answer.
    Granted,
    /// The policy said no.
    Denied,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionEntry {
    /// `page-selection`, `window-sizing` or `lease-policy`.
    pub point: String,
    /// What it was about, such as a lease's name.
    pub about: String,
    /// The policy that was asked.
    pub asked: String,
    /// The policy whose answer counted: the one asked, or `built-in` where that one broke.
    pub decided_by: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The answer in words.
    pub answer: String,
    /// Fuel that the component burned; absent for the built-in policy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fuel: Option<u64>,
    /// Why the asked policy's answer did not count.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub broken: Option<String>,
    /// The same, for programs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Fault>,
    /// What those said that only watch.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub shadows: Vec<ShadowEntry>,
}

/// What a policy said that only watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowEntry {
    /// Which.
    pub policy: String,
    /// Whether it said something else than what was decided.
    pub differs: bool,
    /// Why its answer would not have counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub broken: Option<String>,
}

/// Predicted and real.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeEntry {
    /// What the formulas said, in bytes.
    pub predicted: u64,
    /// What the kernel charged, in bytes.
    pub charged: u64,
}

/// A window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowEntry {
    /// Its slot.
    pub slot: u8,
    /// Its generation.
    pub generation: u64,
    /// `created`, `default-window`, or the default window `unused` or `removed`.
    pub origin: String,
    /// Its first bus address.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its page in bytes.
    pub page: u64,
    /// Its TCEs.
    pub tces: u64,
    /// Levels of its table.
    pub levels: u8,
    /// Bytes of its hardware table.
    pub table_bytes: u64,
    /// The size that was wanted, in bytes, where this is its fallback because the firmware had less.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_for: Option<u64>,
    /// Its charge. Absent for the default window as long as nothing used it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub charge: Option<ChargeEntry>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionEntry {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The page that backs it, in bytes.
    pub backing: u64,
    /// What it is made of.
    pub memory: String,
    /// The slot of its window.
    pub slot: u8,
    /// Its charge.
    pub charge: ChargeEntry,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEntry {
    /// Its name.
    pub name: String,
    /// Its holder.
    pub holder: String,
    /// The slot of its window.
    pub slot: u8,
    /// The window's generation.
    pub generation: u64,
    /// Its first bus address.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// What its mappings may allow.
    pub access: String,
    /// The most TCEs that may be set at once.
    pub tces_max: u64,
    /// The most TCEs that were set at once.
    pub tces_peak: u64,
    /// How its unmaps were put off; absent: they were made at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deferred: Option<DeferredEntry>,
    /// Why it ended.
    pub ended: String,
}

/// How much of a lease may linger, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredEntry {
    /// The most TCEs.
    pub tces: u64,
    /// The longest delay, in milliseconds.
    pub delay: u64,
}

/// What the script did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkEntry {
    /// Batches applied.
    pub batches: u64,
    /// Edits in them.
    pub edits: u64,
    /// `MAP_DMA` calls they took.
    pub map_calls: u64,
    /// `UNMAP_DMA` calls they took.
    pub unmap_calls: u64,
    /// TCEs set or replaced.
    pub tces_set: u64,
    /// TCEs cleared.
    pub tces_cleared: u64,
    /// TCEs that were as wanted already.
    pub tces_kept: u64,
    /// TCEs whose unmap was put off.
    #[serde(default)]
    pub tces_deferred: u64,
}

impl WorkEntry {
    /// Counts what a batch, or a flush of what lingered, did.
    pub(crate) fn add(&mut self, applied: &Applied) {
        self.map_calls += applied.map_calls;
        self.unmap_calls += applied.unmap_calls;
        self.tces_set += applied.tces_set;
        self.tces_cleared += applied.tces_cleared;
        self.tces_kept += applied.tces_kept;
        self.tces_deferred += applied.tces_deferred;
    }
}

/// Kernel calls by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsEntry {
    /// Opening and closing descriptors.
    pub descriptor: u64,
    /// Asking.
    pub query: u64,
    /// Groups in and out.
    pub attach: u64,
    /// Device registers.
    pub device_access: u64,
    /// `REGISTER_MEMORY`.
    pub register: u64,
    /// `UNREGISTER_MEMORY`.
    pub unregister: u64,
    /// `TCE_CREATE`.
    pub create: u64,
    /// `TCE_REMOVE`.
    pub remove: u64,
    /// `MAP_DMA`.
    pub map: u64,
    /// `UNMAP_DMA`.
    pub unmap: u64,
}

/// Locked memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedEntry {
    /// What was locked before the run, in bytes.
    pub before: u64,
    /// What the run had locked when its script began, in bytes.
    pub during: u64,
    /// What was locked beyond `before` after everything was taken down, in bytes. 0 unless the kernel leaked.
    pub left_behind: u64,
    /// The same for pinned memory that the kernel counts apart.
    pub pinned_left_behind: u64,
    /// What the kernel was seen to keep, call by call, in bytes: of windows that it did not make, and of memory that it
    /// had unregistered.
    #[serde(default)]
    pub leaked: u64,
}

impl Report {
    /// How the first policy failed that did, so that the built-in one had to step in.
    fn first_fault(&self) -> Option<Fault> {
        self.decisions.iter().find_map(|decision| decision.fault)
    }

    /// How a command ends whose run came to this report.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.is_clean() {
            self.first_fault().map_or(Exit::Done, Exit::from)
        } else {
            Exit::LeftBehind
        }
    }

    /// Whether nothing was left behind.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.locked.left_behind == 0 && self.locked.pinned_left_behind == 0
    }
}
