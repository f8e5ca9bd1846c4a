//! Jobs: what `tce run` is asked to do. Read from a file, checked in full, then plain data.

mod check;
pub mod deferred;
pub mod file;
mod hints;
pub mod platform;
pub mod size;
pub mod windows;

use std::{collections::BTreeMap, fs, io, path::Path};

use tce_engine::{
    access::Access,
    addr::{Bytes, Iova, PageShift},
    facts::PlatformLimits,
    kernel::GroupNumber,
    layout::UnusedDefault,
    lease::Holder,
    lingering::Unmapping,
};
use thiserror::Error;

pub use self::hints::Hints;

use self::{
    file::{JobFile, Memory, Recorded},
    windows::Fallback,
};

/// The longest job file.
pub const JOB_BYTES_MAX: u64 = 4 << 20;
/// The most devices, and the most groups, of a job.
pub const DEVICES_MAX: usize = 64;
/// The most regions of a job.
pub const REGIONS_MAX: usize = 1024;
/// The most leases of a job.
pub const LEASES_MAX: usize = 256;
/// The most steps of a job.
pub const STEPS_MAX: usize = 65_536;

/// A job that makes sense in itself. What the machine says to it is another matter.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the report calls it.
    pub name: String,
    /// The backend it wants.
    pub backend: Option<String>,
    /// Devices to open, by address.
    pub devices: Vec<String>,
    /// Groups to attach beside those of the devices.
    pub groups: Vec<GroupNumber>,
    /// The memory.
    pub regions: Vec<RegionPlan>,
    /// More memory that is expected later.
    pub growth: Bytes,
    /// What else policies are told of the demand.
    pub hints: Hints,
    /// The highest bus address the devices drive.
    pub device_mask: Iova,
    /// Who chooses bus addresses.
    pub iova: IovaChoice,
    /// What only the operator knows of the machine.
    pub limits: PlatformLimits,
    /// What a window may come as if the firmware has less.
    pub fallback: Fallback,
    /// What becomes of the default window if nothing uses it.
    pub unused_default: UnusedDefault,
    /// The leases.
    pub leases: Vec<LeasePlan>,
    /// The script.
    pub steps: Vec<Step>,
    /// What the operator sets for the policies.
    pub settings: BTreeMap<String, String>,
    /// What another program did.
    pub recorded: Option<Recorded>,
}

/// Who chooses bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IovaChoice {
    /// Whoever holds the lease.
    Holder,
    /// The engine.
    Engine,
}

/// A region to be.
#[derive(Clone, Debug)]
pub struct RegionPlan {
    /// Its name in the job.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// The page that must back it at least; always given for huge pages.
    pub page: Option<PageShift>,
    /// The smallest piece of it that is mapped by itself, where the job says so.
    pub granule: Option<PageShift>,
    /// What it is made of.
    pub memory: Memory,
    /// What devices may do.
    pub access: Access,
    /// The bus address it must have.
    pub at: Option<Iova>,
    /// What else policies are told of it.
    pub hints: Hints,
}

/// A lease to be.
#[derive(Clone, Debug)]
pub struct LeasePlan {
    /// Its name in the job.
    pub name: String,
    /// Who asks for it.
    pub holder: Holder,
    /// The regions it is for, as indices.
    pub regions: Vec<usize>,
    /// How much of the window.
    pub size: Bytes,
    /// The bus address it must start at.
    pub at: Option<Iova>,
    /// What its mappings may allow.
    pub access: Access,
    /// The most TCEs it wants set at once.
    pub tces: Option<u64>,
    /// For how many milliseconds.
    pub duration: Option<u64>,
    /// How its unmaps are made.
    pub unmapping: Unmapping,
    /// Whether a step asks for it.
    pub later: bool,
    /// What else policies are told of the request.
    pub hints: Hints,
}

/// A step of the script. Leases and regions are indices.
#[derive(Clone, Debug)]
pub enum Step {
    /// Map all regions of a lease.
    MapAll {
        /// The lease.
        lease: usize,
    },
    /// Unmap the whole lease.
    UnmapAll {
        /// The lease.
        lease: usize,
    },
    /// Apply edits, all or none.
    Batch {
        /// The lease.
        lease: usize,
        /// The edits.
        edits: Vec<EditPlan>,
    },
    /// Drive a ring of buffers.
    Ring {
        /// The lease.
        lease: usize,
        /// The ring.
        ring: Ring,
    },
    /// Take a lease back.
    Revoke {
        /// The lease.
        lease: usize,
    },
    /// Ask for a lease.
    Lease {
        /// The lease.
        lease: usize,
    },
    /// Ask for more time.
    Renew {
        /// The lease.
        lease: usize,
        /// For how many milliseconds from now.
        duration: Option<u64>,
    },
    /// Move a lease into a larger range.
    Grow {
        /// The lease.
        lease: usize,
        /// How much it shall have.
        size: Bytes,
    },
    /// Let one of several groups go.
    Leave(GroupPlan),
}

impl Step {
    /// The lease that it is about.
    #[must_use]
    pub const fn lease(&self) -> Option<usize> {
        match *self {
            Self::MapAll { lease }
            | Self::UnmapAll { lease }
            | Self::Batch { lease, .. }
            | Self::Ring { lease, .. }
            | Self::Revoke { lease }
            | Self::Lease { lease }
            | Self::Renew { lease, .. }
            | Self::Grow { lease, .. } => Some(lease),
            Self::Leave(_) => None,
        }
    }
}

/// A group, as a job names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupPlan {
    /// By its number.
    Number(GroupNumber),
    /// By the address of one of its devices.
    Of(String),
}

/// An edit to be.
#[derive(Clone, Copy, Debug)]
pub enum EditPlan {
    /// Map a part of a region.
    Map {
        /// The region.
        region: usize,
        /// Where in the lease.
        at: Bytes,
        /// From where in the region.
        offset: Bytes,
        /// How much.
        size: Bytes,
        /// What devices may do.
        access: Access,
    },
    /// Unmap a range.
    Unmap {
        /// Where in the lease.
        at: Bytes,
        /// How much.
        size: Bytes,
    },
}

/// A ring of buffers that lie one behind the other in a region.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// The region.
    pub region: usize,
    /// Where the ring starts in the lease.
    pub at: Bytes,
    /// Places of the ring.
    pub entries: u32,
    /// A buffer's size.
    pub entry_size: Bytes,
    /// Buffers that one turn renews.
    pub batch: u32,
    /// How many turns.
    pub turns: u32,
    /// What devices may do.
    pub access: Access,
}

/// Why a job cannot be run, before anything was done for it.
#[derive(Debug, Error)]
pub enum JobError {
    /// The file cannot be read.
    #[error("the job {path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The file is longer than [`JOB_BYTES_MAX`].
    #[error("the job {path} is longer than {JOB_BYTES_MAX} bytes")]
    TooLong {
        /// The file.
        path: String,
    },
    /// The file is no TOML, or its keys are not those of a job.
    #[error("the job {path} is not understood:\n{error}")]
    IllTyped {
        /// The file.
        path: String,
        /// Where and why.
        error: toml::de::Error,
    },
    /// Something in it makes no sense.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where in the job.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl Job {
    /// Reads a job from its file.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn read(path: &Path) -> Result<Self, JobError> {
        let shown = || path.display().to_string();
        let unreadable = |error| JobError::Unreadable { path: shown(), error };
        if fs::metadata(path).map_err(unreadable)?.len() > JOB_BYTES_MAX {
            return Err(JobError::TooLong { path: shown() });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let file =
            toml::from_str(&text).map_err(|error| JobError::IllTyped { path: shown(), error })?;
        Self::new(file)
    }

    /// Checks what stands in a file.
    ///
    /// # Errors
    /// [`JobError::Invalid`].
    pub fn new(file: JobFile) -> Result<Self, JobError> {
        check::check(file)
    }
}

#[cfg(test)]
mod tests;
