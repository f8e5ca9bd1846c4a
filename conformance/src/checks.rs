//! Named checks of VFIO's sPAPR TCE v2 backend: what is asserted, which kernel function does it, and why it matters.
//!
//! A [`Check`] is a [`Script`]: steps with what must come of each. It is played in a process of its own and judged on
//! its outcomes alone, never against the simulated kernel, so it says the same on the simulated machine and on a real
//! one. [`run`] plays all that apply to a machine.

mod applies;
mod attach;
mod device;
mod dma;
mod eeh;
mod facts;
mod groups;
mod judge;
mod kvm;
mod map;
mod memory;
mod process;
mod pseries;
mod reference;
mod report;
mod script;
mod steps;
mod table;
mod unmap;
mod window;

use std::fmt;

use serde::Serialize;

pub use applies::{Applies, Kernels, Need, NotApplicable};
pub use facts::Facts;
pub use judge::{Verdict, judge};
pub use reference::reference;
pub use report::{CheckResult, Leaving, SuiteReport, run};
pub use script::{Act, Charge, Expected, Script, Wanted};

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Containers, groups and their backend.
    Attach,
    /// Registered memory.
    Memory,
    /// Windows and their tables.
    Window,
    /// Setting TCEs.
    Map,
    /// Clearing TCEs.
    Unmap,
    /// Several groups.
    Groups,
    /// Several processes.
    Process,
    /// What devices reach.
    Dma,
    /// Devices' interrupts and resets.
    Devices,
    /// KVM as the external user.
    Kvm,
    /// Enhanced error handling.
    Eeh,
    /// Logical partitions.
    Pseries,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attach => "Containers and groups",
            Self::Memory => "Registered memory",
            Self::Window => "Windows",
            Self::Map => "Mapping",
            Self::Unmap => "Unmapping",
            Self::Groups => "Several groups",
            Self::Process => "Several processes",
            Self::Dma => "What devices reach",
            Self::Devices => "Interrupts and resets of devices",
            Self::Kvm => "KVM as the external user",
            Self::Eeh => "Enhanced error handling",
            Self::Pseries => "Partitions",
        })
    }
}

/// What a check leaves on the machine until it boots anew. Such checks are only played on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leaves {
    /// A page of memory that stays pinned, and a warning in the kernel's log.
    PinnedPage,
    /// A partition's PE without dynamic windows.
    SpoiledPe,
}

impl fmt::Display for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PinnedPage => {
                "a pinned page and a warning in the kernel's log, until the machine boots anew"
            }
            Self::SpoiledPe => "a PE without dynamic windows, until the partition boots anew",
        })
    }
}

/// A named check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, which does not change: words joined by hyphens.
    pub name: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// What the kernel does, in a sentence.
    pub title: &'static str,
    /// What exactly is asserted.
    pub asserts: &'static str,
    /// The kernel's functions behind it.
    pub function: &'static str,
    /// Why it matters to whoever calls the kernel.
    pub trap: &'static str,
    /// What the engine of this project does about it.
    pub engine: &'static str,
    /// The machines it can be played on.
    pub applies: Applies,
    /// What it leaves behind for good, if anything.
    pub leaves: Option<Leaves>,
    /// The steps and what must come of them, on a machine like this.
    pub script: fn(&Facts) -> Script,
}

/// All checks, in the order in which they are played: those that leave something behind come last.
#[must_use]
pub fn checks() -> Vec<&'static Check> {
    let topics = [
        attach::CHECKS,
        device::CHECKS,
        memory::CHECKS,
        window::CHECKS,
        table::CHECKS,
        map::CHECKS,
        unmap::CHECKS,
        groups::CHECKS,
        process::CHECKS,
        dma::CHECKS,
        kvm::CHECKS,
        eeh::CHECKS,
        pseries::CHECKS,
    ];
    let mut checks: Vec<_> = topics.into_iter().flatten().collect();
    checks.sort_by_key(|check| check.leaves);
    checks
}

/// The check of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Check> {
    checks().into_iter().find(|check| check.name == name)
}
