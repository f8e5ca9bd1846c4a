//! What keeps a machine from the real thing, and what to do about it.
//!
//! A [`Diagnosis`] is a function of a [`Survey`] and of what [`probes`](Probed) of its groups found: nothing is looked
//! at or changed here, so any machine can be diagnosed, made-up ones in tests too. `docs/report.md` describes its JSON.

mod check;
mod groups;
mod memory;
mod system;
mod text;
mod vfio;

#[cfg(test)]
mod tests;

use serde::Serialize;
use tce_engine::kernel::{GroupNumber, Platform, SpaprInfo};
use tce_vfio::survey::{ProbeError, Survey};

use crate::exit::Exit;

pub use self::{
    check::{Check, Mark, Remedy},
    groups::GroupEntry,
    text::render,
};

/// The version of the document.
pub const FORMAT: &str = "tce-doctor/1";

/// What a probe of a group found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The group.
    pub group: GroupNumber,
    /// What its container says, or why there is no answer.
    pub result: Result<SpaprInfo, ProbeError>,
}

/// The whole document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// [`FORMAT`].
    pub format: &'static str,
    /// Whether the machine can do the real thing.
    pub able: bool,
    /// The same in a sentence.
    pub verdict: String,
    /// How many checks say that something is missing.
    pub missing: usize,
    /// What `uname -r` says.
    pub kernel: String,
    /// `powernv` or `pseries`; absent if this is no POWER machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Every check, in the order in which they matter.
    pub checks: Vec<Check>,
    /// The IOMMU groups of a POWER machine.
    pub groups: Vec<GroupEntry>,
}

impl Diagnosis {
    /// Judges a machine.
    #[must_use]
    pub fn of(survey: &Survey, probes: &[Probed]) -> Self {
        let checks = checks(survey, probes);
        let missing = checks.iter().filter(|check| check.mark == Mark::Missing).count();
        let groups = match survey.platform {
            Some(_) => groups::entries(survey, probes),
            None => Vec::new(),
        };
        Self {
            format: FORMAT,
            able: missing == 0,
            verdict: verdict(survey.platform, &groups, missing),
            missing,
            kernel: survey.kernel.clone(),
            platform: survey.platform.map(|platform| platform.to_string()),
            checks,
            groups,
        }
    }

    /// How the command ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.able { Exit::Done } else { Exit::Machine }
    }
}

/// What there is to say, the causes before what follows from them. Where the machine has no TCE tables, nothing else
/// matters; where VFIO cannot be opened, what only VFIO knows is left out.
#[must_use]
pub fn checks(survey: &Survey, probes: &[Probed]) -> Vec<Check> {
    let mut checks = vec![system::platform(survey)];
    if survey.platform.is_none() {
        return checks;
    }
    checks.push(system::kernel(survey));
    checks.extend(vfio::checks(survey));
    checks.extend(groups::checks(survey, probes));
    checks.push(memory::locked(survey.locked_memory));
    checks.push(memory::huge_pages(&survey.huge_pages));
    checks
}

fn verdict(platform: Option<Platform>, groups: &[GroupEntry], missing: usize) -> String {
    if platform.is_none() {
        return "this machine cannot do the real thing, since it is no POWER machine: on this \
                machine use --backend sim"
            .to_owned();
    }
    match missing {
        0 => {
            let usable = groups.iter().filter(|group| group.usable).count();
            format!("this machine can do the real thing, with {}", counted(usable, "group"))
        }
        1 => "this machine cannot do the real thing: 1 thing is missing".to_owned(),
        more => format!("this machine cannot do the real thing: {more} things are missing"),
    }
}

/// A number and what it counts.
fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}
