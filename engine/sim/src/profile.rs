//! What a simulated machine is made of: its kernel, its firmware, its devices. Plain data; nothing happens here.
//!
//! The named profiles carry the numbers of `kernel-facts.md`, sections 4 and 5. Whatever a test wants otherwise, it
//! changes in the public fields or with the builders.

use tce_engine::{
    addr::{Bytes, Iova, PageShift},
    kernel::{GroupNumber, Platform, SpaprInfo},
};

mod devices;
mod version;

pub use devices::{DeviceModel, DeviceProfile, GroupProfile};
pub use version::KernelVersion;

/// Tables a container can hold: `IOMMU_TABLE_GROUP_MAX_TABLES`.
pub(crate) const SLOTS: usize = 2;
/// Deepest table of `pnv_pci_ioda2_table_alloc_pages`: `POWERNV_IOMMU_MAX_LEVELS`.
pub(crate) const POWERNV_LEVELS_MAX: u32 = 5;

/// `1 << shift` for each shift of PHB4 and PHB5: 4K, 64K, 2M, 1G.
const PAGE_SIZES_PHB4: u64 = 0x4021_1000;
/// The same for PHB3: 4K, 64K, 16M, 256M.
const PAGE_SIZES_PHB3: u64 = 0x1101_1000;
/// The one that only PHB3 has: 16M.
const PAGE_SIZE_16M: u64 = 1 << 24;
/// What QEMU's pseries offers: 4K, 64K, 2M, 16M.
const PAGE_SIZES_PSERIES: u64 = 0x0121_1000;

/// Whether the machine has enhanced error handling (`eeh_enabled`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eeh {
    /// It has.
    Enabled,
    /// It has not: `VFIO_EEH_PE_OP` finds no PE.
    Absent,
}

/// What a DMA without a TCE does to its PE, and an injected error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaError {
    /// Nothing: the transfer just does not happen, and the firmware injects no errors, as in the emulation.
    Dropped,
    /// It freezes the PE, as real hardware does.
    FreezesPe,
}

/// What becomes of DMA to the 32-bit MMIO addresses, from the end of the default window to 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmioHole {
    /// It goes through the window, as in the emulation.
    Translated,
    /// It never reaches the host bridge's tables: another device's registers are meant.
    Swallowed,
}

/// Where DMA behind the end of a window's table leads, on powernv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BehindTable {
    /// Around to the table's start: the emulated host bridge looks at no more address bits than the table has.
    WrapsAround,
    /// Nowhere: there is no TCE.
    Nowhere,
}

/// What a `MAP_DMA` of no bytes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyMap {
    /// It returns 0.
    Succeeds,
    /// At the window's first page it spins in `pnv_pci_phb3_tce_invalidate` for good.
    HangsHost,
}

/// Whether there is a hypervisor for guests (`/dev/kvm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// There is.
    Available,
    /// There is none, as in most partitions.
    Absent,
}

/// Huge pages that are reserved and free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugetlbPool {
    /// Their size.
    pub page: PageShift,
    /// How many are free.
    pub free: u64,
}

/// A machine to simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, such as `powernv9-64k`.
    pub name: String,
    /// The firmware interface.
    pub platform: Platform,
    /// The kernel's version.
    pub kernel: KernelVersion,
    /// The kernel's page.
    pub page_shift: PageShift,
    /// TCE page sizes: bit `s` stands for `1 << s` bytes (`iommu_table_group::pgsizes`).
    pub page_sizes: u64,
    /// Windows as `GET_INFO` tells them; never more than two exist.
    pub windows_max: u32,
    /// Table levels as `GET_INFO` tells them.
    pub levels_max: u32,
    /// Size of the default window (`iommu_table_group::tce32_size`).
    pub default_window: Bytes,
    /// Where the window of each slot starts.
    pub slot_starts: [Iova; SLOTS],
    /// Largest dynamic window of a partition, in TCEs: `largest_available_block` of `query_ddw`.
    pub largest_window_tces: u64,
    /// Enhanced error handling.
    pub eeh: Eeh,
    /// What a DMA without a TCE does.
    pub dma_error: DmaError,
    /// What becomes of DMA to 32-bit MMIO addresses.
    pub mmio_hole: MmioHole,
    /// Where DMA behind a table's end leads.
    pub behind_table: BehindTable,
    /// What an empty map does.
    pub empty_map: EmptyMap,
    /// Whether there is KVM.
    pub kvm: Kvm,
    /// The process's `RLIMIT_MEMLOCK`; `None` with `CAP_IPC_LOCK`.
    pub locked_limit: Option<Bytes>,
    /// The machine's memory. Registering more than its bookkeeping has room for is refused; allocating is not.
    pub memory: Bytes,
    /// Huge pages.
    pub hugetlb: Vec<HugetlbPool>,
    /// The IOMMU groups and what is in them.
    pub groups: Vec<GroupProfile>,
}

impl Profile {
    /// The names that [`Profile::named`] knows.
    pub const NAMES: [&str; 7] = [
        "powernv8",
        "powernv9",
        "powernv9-64k",
        "powernv10",
        "powernv10-64k",
        "pseries",
        "pseries-64k",
    ];

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (machine, page_shift) = match name.strip_suffix("-64k") {
            Some(machine) => (machine, PageShift::K64),
            None => (name, PageShift::K4),
        };
        if !Self::NAMES.contains(&name) {
            return None;
        }
        let mut profile = match machine {
            "powernv8" => Self::powernv8(),
            "powernv9" => Self::powernv9(),
            "powernv10" => Self::powernv10(),
            _ => Self::pseries(),
        };
        profile.name = name.to_owned();
        profile.page_shift = page_shift;
        Some(profile)
    }

    /// A POWER9 host (PHB4) with 4K pages.
    #[must_use]
    pub fn powernv9() -> Self {
        Self {
            name: "powernv9".to_owned(),
            platform: Platform::Powernv,
            kernel: KernelVersion::new(6, 12, 117),
            page_shift: PageShift::K4,
            page_sizes: PAGE_SIZES_PHB4,
            windows_max: 2,
            levels_max: POWERNV_LEVELS_MAX,
            default_window: Bytes::gib(2),
            slot_starts: [Iova::new(0), Iova::new(1 << 59)],
            largest_window_tces: u64::MAX,
            eeh: Eeh::Enabled,
            dma_error: DmaError::Dropped,
            mmio_hole: MmioHole::Translated,
            behind_table: BehindTable::WrapsAround,
            empty_map: EmptyMap::Succeeds,
            kvm: Kvm::Available,
            locked_limit: None,
            memory: Bytes::gib(64),
            hugetlb: vec![
                HugetlbPool { page: PageShift::M2, free: 1024 },
                HugetlbPool { page: PageShift::G1, free: 4 },
            ],
            groups: devices::powernv_groups(),
        }
    }

    /// A POWER10 host (PHB5) with 4K pages.
    #[must_use]
    pub fn powernv10() -> Self {
        Self { name: "powernv10".to_owned(), ..Self::powernv9() }
    }

    /// A POWER8 host (PHB3) with 4K pages.
    #[must_use]
    pub fn powernv8() -> Self {
        Self {
            name: "powernv8".to_owned(),
            page_sizes: PAGE_SIZES_PHB3,
            empty_map: EmptyMap::HangsHost,
            ..Self::powernv9()
        }
    }

    /// A logical partition as QEMU makes it, with 4K pages.
    #[must_use]
    pub fn pseries() -> Self {
        Self {
            name: "pseries".to_owned(),
            platform: Platform::Pseries,
            page_sizes: PAGE_SIZES_PSERIES,
            levels_max: 1,
            default_window: Bytes::gib(1),
            largest_window_tces: 1 << 37,
            eeh: Eeh::Absent,
            kvm: Kvm::Absent,
            groups: devices::pseries_groups(),
            ..Self::powernv9()
        }
    }

    /// A machine whose `TCE_GET_INFO` says this, otherwise like the one of these profiles that comes closest.
    #[must_use]
    pub fn like(platform: Platform, info: &SpaprInfo) -> Self {
        let mut profile = match platform {
            Platform::Pseries => Self::pseries(),
            Platform::Powernv if info.page_sizes & PAGE_SIZE_16M != 0 => Self::powernv8(),
            Platform::Powernv => Self::powernv9(),
        };
        profile.page_sizes = info.page_sizes;
        profile.windows_max = info.windows_max;
        profile.levels_max = info.levels_max;
        profile.default_window = Bytes::new(info.dma32_window_size.into());
        profile.slot_starts[0] = Iova::new(info.dma32_window_start.into());
        profile
    }

    /// Whether containers of the second version can be had (`max_dynamic_windows_supported`).
    pub(crate) fn has_dynamic_windows(&self) -> bool {
        let platform_has = match self.platform {
            Platform::Powernv => true,
            Platform::Pseries => self.kernel.gives_partitions_windows(),
        };
        platform_has && self.windows_max > 0
    }

    /// Whether KVM says that it takes VFIO's tables (`KVM_CAP_SPAPR_TCE_VFIO`): in a partition since 6.12.24. Without
    /// it the calls are there all the same.
    #[must_use]
    pub fn advertises_kvm_vfio_tables(&self) -> bool {
        let kernel_does = match self.platform {
            Platform::Powernv => true,
            Platform::Pseries => self.kernel >= KernelVersion::new(6, 12, 24),
        };
        kernel_does && self.kvm == Kvm::Available
    }

    /// The same with another kernel page.
    #[must_use]
    pub fn with_page_shift(self, page_shift: PageShift) -> Self {
        Self { page_shift, ..self }
    }

    /// The same with another kernel.
    #[must_use]
    pub fn with_kernel(self, kernel: KernelVersion) -> Self {
        Self { kernel, ..self }
    }

    /// The same with a limit on locked memory.
    #[must_use]
    pub fn with_locked_limit(self, limit: Bytes) -> Self {
        Self { locked_limit: Some(limit), ..self }
    }

    /// The same with these huge pages instead.
    #[must_use]
    pub fn with_hugetlb(self, hugetlb: Vec<HugetlbPool>) -> Self {
        Self { hugetlb, ..self }
    }

    /// The same, but a DMA without a TCE freezes its PE.
    #[must_use]
    pub fn with_freezing_pe(self) -> Self {
        Self { dma_error: DmaError::FreezesPe, ..self }
    }

    /// The same with one more device. Its group is made if there is none of this number.
    #[must_use]
    pub fn with_device(mut self, group: GroupNumber, device: DeviceProfile) -> Self {
        match self.groups.iter_mut().find(|present| present.number == group) {
            Some(present) => present.devices.push(device),
            None => self.groups.push(GroupProfile { number: group, devices: vec![device] }),
        }
        self
    }

    /// The same with a network card that the host's `tg3` drives, in a group of its own.
    #[must_use]
    pub fn with_host_nic(self, group: GroupNumber, address: &str) -> Self {
        self.with_device(group, DeviceProfile::host_nic(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_profile_and_only_those() {
        for name in Profile::NAMES {
            let profile = Profile::named(name).expect(name);
            assert_eq!(profile.name, name);
            assert_eq!(profile.page_shift == PageShift::K64, name.ends_with("-64k"));
        }
        assert_eq!(Profile::named("powernv7"), None);
        assert_eq!(Profile::named("powernv8-64k"), None);
        assert_eq!(Profile::named(""), None);
    }

    #[test]
    fn a_device_joins_a_present_group_or_gets_a_new_one() {
        let count = Profile::powernv9().groups.len();
        let present = Profile::powernv9().groups[0].number;
        let joined = Profile::powernv9().with_host_nic(present, "0000:01:00.1");
        assert_eq!(joined.groups.len(), count);
        let alone = Profile::powernv9().with_host_nic(GroupNumber(77), "0005:01:00.0");
        assert_eq!(alone.groups.len(), count + 1);
    }
}
