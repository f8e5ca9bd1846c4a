//! Which machines a check is for.

use std::fmt;

use tce_engine::kernel::Platform;
use tce_sim::profile::{Eeh, KernelVersion, Kvm};

use super::{Facts, Leaves, facts::HUGE_PAGE_SHIFT, script::BLOCK};

/// Kernel versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// All of them.
    All,
    /// Those with a change: of each branch named here, from that version on; and every later branch.
    With {
        /// The first version of each branch, the newest branch last.
        branches: &'static [KernelVersion],
        /// What is without it.
        otherwise: &'static str,
    },
}

impl Kernels {
    fn include(&self, kernel: KernelVersion) -> bool {
        let Self::With { branches, .. } = self else { return true };
        let of = |version: &KernelVersion| (version.major, version.minor);
        match branches.iter().find(|branch| of(branch) == of(&kernel)) {
            Some(branch) => kernel >= *branch,
            None => branches.last().is_none_or(|newest| of(&kernel) > of(newest)),
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::With { branches, .. } = self else { return f.write_str("any kernel") };
        f.write_str("Linux ")?;
        for KernelVersion { major, minor, patch } in *branches {
            write!(f, "{major}.{minor}.{patch}, ")?;
        }
        f.write_str("or a later branch")
    }
}

/// `log2` of the page that created windows have in most checks.
const CREATED_PAGE_SHIFT: u32 = 16;

/// Something a check needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A default window of some size. All checks need one.
    DefaultWindow,
    /// A second window of 64K pages. In a partition without one, the attempt would end all windows of the PE.
    SecondWindow,
    /// Two groups.
    TwoGroups,
    /// An `edu` device in each of the first groups, one or two of them.
    Edus(usize),
    /// KVM.
    Kvm,
    /// Enhanced error handling.
    Eeh,
    /// A machine without it.
    NoEeh,
    /// So many free huge pages of 2 MiB, and windows of such pages.
    HugePages(u64),
    /// Windows of a page that is larger than the kernel's.
    LargerTcePage,
    /// A kernel page larger than 4K.
    LargeSystemPage,
}

impl Need {
    fn is_met(self, facts: &Facts) -> bool {
        match self {
            Self::DefaultWindow => facts.default_window >= BLOCK,
            Self::SecondWindow => facts.windows_max == 2 && facts.offers(CREATED_PAGE_SHIFT),
            Self::TwoGroups => facts.seats.len() >= 2,
            Self::Edus(count) => {
                facts.seats.len() >= count && facts.seats.iter().take(count).all(|seat| seat.is_edu)
            }
            Self::Kvm => facts.kvm == Kvm::Available,
            Self::Eeh => facts.eeh == Eeh::Enabled,
            Self::NoEeh => facts.eeh == Eeh::Absent,
            Self::HugePages(count) => {
                facts.huge_pages >= count && facts.offers(u32::from(HUGE_PAGE_SHIFT))
            }
            Self::LargerTcePage => facts.larger_page().is_some(),
            Self::LargeSystemPage => facts.page_shift > 12,
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultWindow => f.write_str("a default window of 1 MiB or more"),
            Self::SecondWindow => f.write_str("a second window, of 64K pages"),
            Self::TwoGroups => f.write_str("two groups"),
            Self::Edus(1) => f.write_str("an edu device"),
            Self::Edus(count) => write!(f, "{count} edu devices in groups of their own"),
            Self::Kvm => f.write_str("KVM"),
            Self::Eeh => f.write_str("enhanced error handling"),
            Self::NoEeh => f.write_str("a machine without enhanced error handling"),
            Self::HugePages(count) => {
                write!(f, "{count} free huge pages of 2 MiB, and windows of such pages")
            }
            Self::LargerTcePage => f.write_str(
                "windows of a page that is larger than the kernel's, and not larger than 2 MiB",
            ),
            Self::LargeSystemPage => f.write_str("a kernel with pages larger than 4K"),
        }
    }
}

/// The machines a check is for.
#[derive(Clone, Copy, Debug)]
pub struct Applies {
    /// The platform, if it is one's only.
    pub platform: Option<Platform>,
    /// The kernels.
    pub kernels: Kernels,
    /// What it needs besides.
    pub needs: &'static [Need],
}

impl Applies {
    /// Everywhere.
    pub(super) const ANYWHERE: Self = Self { platform: None, kernels: Kernels::All, needs: &[] };
    /// On every POWER host without a hypervisor below it.
    pub(super) const POWERNV: Self = Self { platform: Some(Platform::Powernv), ..Self::ANYWHERE };
    /// In every partition.
    pub(super) const PSERIES: Self = Self { platform: Some(Platform::Pseries), ..Self::ANYWHERE };

    /// The same, if there is all this.
    pub(super) const fn with(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// The same on these kernels.
    pub(super) const fn on(self, kernels: Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// Whether a machine is one of them.
    ///
    /// # Errors
    /// [`NotApplicable`], with the first reason why not.
    pub fn to(&self, facts: &Facts) -> Result<(), NotApplicable> {
        if let Some(platform) = self.platform.filter(|it| *it != facts.platform) {
            return Err(NotApplicable::Platform(platform));
        }
        if let Kernels::With { otherwise, .. } = self.kernels
            && !self.kernels.include(facts.kernel)
        {
            return Err(NotApplicable::Kernel { kernels: self.kernels, otherwise });
        }
        let mut needs = [Need::DefaultWindow].iter().chain(self.needs);
        match needs.find(|need| !need.is_met(facts)) {
            Some(need) => Err(NotApplicable::Need(*need)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Applies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.platform {
            Some(platform) => write!(f, "{platform}")?,
            None => f.write_str("any platform")?,
        }
        if self.kernels != Kernels::All {
            write!(f, "; {}", self.kernels)?;
        }
        self.needs.iter().try_for_each(|need| write!(f, "; {need}"))
    }
}

/// Why a check was not played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApplicable {
    /// It is about another platform.
    #[error("only on {0}")]
    Platform(Platform),
    /// This kernel is known to behave otherwise.
    #[error("needs {kernels}: {otherwise}")]
    Kernel {
        /// The kernels it is for.
        kernels: Kernels,
        /// What others do.
        otherwise: &'static str,
    },
    /// Something is not there.
    #[error("needs {0}")]
    Need(Need),
    /// It would leave something behind, and nobody asked for that.
    #[error("leaves {0}; played only on request")]
    Leaves(Leaves),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_in_its_branches_from_a_version_on_and_in_all_later_ones() {
        const FIX: Kernels = Kernels::With {
            branches: &[
                KernelVersion::new(6, 1, 189),
                KernelVersion::new(6, 12, 112),
                KernelVersion::new(7, 2, 8),
            ],
            otherwise: "",
        };
        let has = |major, minor, patch| FIX.include(KernelVersion::new(major, minor, patch));
        assert!(!has(6, 12, 111) && has(6, 12, 112) && has(6, 1, 189));
        assert!(!has(6, 18, 50) && !has(5, 10, 0) && !has(7, 2, 7) && has(7, 2, 8));
        assert!(has(7, 3, 0) && has(8, 0, 0));
        assert!(Kernels::All.include(KernelVersion::new(5, 0, 0)));
    }
}
