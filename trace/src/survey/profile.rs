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

/// Room for what a trace may have registered: its machine's memory is not known.
const MEMORY: Bytes = Bytes::new(1 << 60);
/// As many huge pages as anybody wants.
const HUGE_PAGES_FREE: u64 = 1 << 40;

impl Survey {
    /// A machine like the trace's.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let base = match (self.info, self.platform) {
            (Some(info), platform) => Profile::like(platform, &info),
            (None, Platform::Powernv) => Profile::powernv9(),
            (None, Platform::Pseries) => Profile::pseries(),
        };
        let mut profile = base.with_page_shift(self.page_shift);
        if let Some(start) = self.second_window {
            profile.slot_starts[1] = start;
        }
        if let Some(kernel) = self.kernel.as_deref().and_then(KernelVersion::parse) {
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
