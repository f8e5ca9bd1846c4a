//! The simulated machine that comes closest to a trace's.

use tce_engine::{
    addr::{Bytes, PageShift},
    kernel::{GroupNumber, Platform},
};
use tce_sim::{
    Profile,
    profile::{DeviceProfile, Eeh, GroupProfile, HugetlbPool, KernelVersion, Kvm},
};

use super::Survey;

/// Page sizes of a host bridge of POWER8.
const PAGE_SIZES_PHB3: u64 = 0x1101_1000;
/// Room for what a trace may have registered: its machine's memory is not known.
const MEMORY: Bytes = Bytes::new(1 << 60);
/// As many huge pages as anybody wants.
const HUGE_PAGES_FREE: u64 = 1 << 40;

impl Survey {
    /// A machine like the trace's.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let base = match (self.platform, self.info.map(|info| info.page_sizes)) {
            (Platform::Pseries, _) => Profile::pseries(),
            (Platform::Powernv, Some(PAGE_SIZES_PHB3)) => Profile::powernv8(),
            (Platform::Powernv, _) => Profile::powernv9(),
        };
        let mut profile = base.with_page_shift(self.page_shift);
        if let Some(info) = self.info {
            profile.page_sizes = info.page_sizes;
            profile.windows_max = info.windows_max;
            profile.levels_max = info.levels_max;
            profile.default_window = Bytes::new(info.dma32_window_size.into());
        }
        if let Some(start) = self.second_window {
            profile.slot_starts[1] = start;
        }
        if let Some(kernel) = self.kernel.as_deref().and_then(kernel_version) {
            profile.kernel = kernel;
        }
        if let Some(has_eeh) = self.eeh {
            profile.eeh = if has_eeh { Eeh::Enabled } else { Eeh::Absent };
        }
        if self.has_kvm {
            profile.kvm = Kvm::Available;
        }
        profile.locked_limit = self.locked_limit;
        profile.memory = MEMORY;
        let pool = |page| HugetlbPool { page, free: HUGE_PAGES_FREE };
        profile.hugetlb = [PageShift::M2, PageShift::M16, PageShift::G1].map(pool).to_vec();
        profile.groups = self.groups();
        profile
    }

    /// The groups that the program opened; one where the trace names none.
    fn groups(&self) -> Vec<GroupProfile> {
        let group = |(number, devices): (&u32, &std::collections::BTreeSet<String>)| GroupProfile {
            number: GroupNumber(*number),
            devices: match devices.is_empty() {
                true => vec![DeviceProfile::edu(&format!("{number:04x}:01:00.0"))],
                false => devices.iter().map(|address| DeviceProfile::edu(address)).collect(),
            },
        };
        let mut groups: Vec<GroupProfile> = self.groups.iter().map(group).collect();
        if groups.is_empty() {
            groups = Profile::powernv9().groups;
        }
        groups
    }
}

/// The numbers of a release such as `6.12.107+deb13-powerpc64le`.
fn kernel_version(release: &str) -> Option<KernelVersion> {
    let end = release.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(release.len());
    let mut numbers = release[..end].split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next()?.ok()?;
    let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
    Some(KernelVersion::new(major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_three_numbers() {
        let version = |release| kernel_version(release);
        assert_eq!(version("6.12.107+deb13-powerpc64le"), Some(KernelVersion::new(6, 12, 107)));
        assert_eq!(version("7.2.12"), Some(KernelVersion::new(7, 2, 12)));
        assert_eq!(version("6.12-rc3"), Some(KernelVersion::new(6, 12, 0)));
        assert_eq!(version("mainline"), None);
    }
}
