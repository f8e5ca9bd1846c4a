//! A machine in a file: enough to simulate it later, wherever the file is read.

use serde::{Deserialize, Serialize};
use tce_engine::{
    addr::PageShift,
    kernel::{GroupNumber, Platform, SpaprInfo},
};
use tce_sim::{
    Profile,
    profile::{DeviceModel, DeviceProfile, Eeh, GroupProfile, HugetlbPool, KernelVersion, Kvm},
};

use crate::{edu::EDU_ID, notation::hex, seat::Seat};

/// Groups of a description, and devices of a group.
const GROUPS_MAX: usize = 64;

/// What a sequence was played on, as far as its outcomes depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// `powernv` or `pseries`.
    pub platform: String,
    /// The kernel's release, as it calls itself.
    pub kernel: String,
    /// `log2` of the kernel's page.
    pub page_shift: u8,
    /// TCE pages, as `TCE_GET_INFO` tells them.
    #[serde(with = "hex")]
    pub page_sizes: u64,
    /// Windows and levels, as it tells them.
    pub limits: (u32, u32),
    /// Start and size of the default window.
    pub default_window: (u32, u32),
    /// Whether `CHECK_EXTENSION` knows EEH.
    pub eeh: bool,
    /// Whether there is a `/dev/kvm`.
    pub kvm: bool,
    /// Free huge pages: `log2` of their size, and how many.
    pub huge_pages: Vec<(u8, u64)>,
    /// The groups that were used, in the order of their names.
    pub groups: Vec<Group>,
}

/// A group of a description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its number.
    pub number: u32,
    /// The device that is opened.
    pub device: String,
    /// Everything in it: address, vendor and device, driver.
    pub devices: Vec<(String, (u16, u16), Option<String>)>,
}

/// A machine to play on: the simulated one that is like it, and the groups that are used.
#[derive(Clone, Debug)]
pub struct Look {
    /// The simulated machine.
    pub profile: Profile,
    /// The groups.
    pub seats: Vec<Seat>,
    /// The kernel, as it calls itself.
    pub kernel: String,
}

/// Why no machine can be made of a description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Another platform.
    #[error("there is no simulated {0} machine; powernv and pseries there are")]
    Platform(String),
    /// The kernel's release has no version number.
    #[error("the kernel's release `{0}` has no version number")]
    Release(String),
    /// A page whose size is no power of two, or too large.
    #[error("2^{0} bytes are no page")]
    Page(u8),
    /// Too many.
    #[error("more than {GROUPS_MAX} groups, or devices in a group")]
    TooMany,
}

impl Description {
    /// Of a machine.
    #[must_use]
    pub fn of(look: &Look) -> Self {
        let profile = &look.profile;
        let window = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let pools = profile.hugetlb.iter().map(|pool| (pool.page.raw(), pool.free));
        Self {
            platform: profile.platform.to_string(),
            kernel: look.kernel.clone(),
            page_shift: profile.page_shift.raw(),
            page_sizes: profile.page_sizes,
            limits: (profile.windows_max, profile.levels_max),
            default_window: (
                window(profile.slot_starts[0].raw()),
                window(profile.default_window.raw()),
            ),
            eeh: profile.eeh == Eeh::Enabled,
            kvm: profile.kvm == Kvm::Available,
            huge_pages: pools.collect(),
            groups: look.seats.iter().map(|seat| Group::of(seat, profile)).collect(),
        }
    }

    /// The machine it describes.
    ///
    /// # Errors
    /// [`DescriptionError`].
    pub fn look(&self) -> Result<Look, DescriptionError> {
        let too_many = |group: &Group| group.devices.len() > GROUPS_MAX;
        if self.groups.len() > GROUPS_MAX || self.groups.iter().any(too_many) {
            return Err(DescriptionError::TooMany);
        }
        let page = |shift| PageShift::new(shift).ok_or(DescriptionError::Page(shift));
        let pools = self
            .huge_pages
            .iter()
            .map(|(shift, free)| Ok(HugetlbPool { page: page(*shift)?, free: *free }));
        let profile = Profile {
            kernel: KernelVersion::parse(&self.kernel)
                .ok_or_else(|| DescriptionError::Release(self.kernel.clone()))?,
            page_shift: page(self.page_shift)?,
            eeh: if self.eeh { Eeh::Enabled } else { Eeh::Absent },
            kvm: if self.kvm { Kvm::Available } else { Kvm::Absent },
            locked_limit: None,
            hugetlb: pools.collect::<Result<_, DescriptionError>>()?,
            groups: self.groups.iter().map(Group::profile).collect(),
            ..Profile::like(self.platform()?, &self.info())
        };
        let seats = self.groups.iter().map(Group::seat).collect();
        Ok(Look { profile, seats, kernel: self.kernel.clone() })
    }

    fn platform(&self) -> Result<Platform, DescriptionError> {
        let is_it = |platform: &Platform| platform.to_string() == self.platform;
        let found = [Platform::Powernv, Platform::Pseries].into_iter().find(is_it);
        found.ok_or_else(|| DescriptionError::Platform(self.platform.clone()))
    }

    fn info(&self) -> SpaprInfo {
        SpaprInfo {
            flags: 1,
            dma32_window_start: self.default_window.0,
            dma32_window_size: self.default_window.1,
            page_sizes: self.page_sizes,
            windows_max: self.limits.0,
            levels_max: self.limits.1,
        }
    }
}

impl Group {
    fn of(seat: &Seat, profile: &Profile) -> Self {
        let found = profile.groups.iter().find(|group| group.number == seat.group);
        let devices = found.into_iter().flat_map(|group| &group.devices);
        let devices = devices.map(|it| (it.address.clone(), it.id, it.driver.clone()));
        Self { number: seat.group.0, device: seat.address.clone(), devices: devices.collect() }
    }

    fn profile(&self) -> GroupProfile {
        let devices = self.devices.iter().map(|(address, id, driver)| DeviceProfile {
            address: address.clone(),
            id: *id,
            driver: driver.clone(),
            model: if *id == EDU_ID { DeviceModel::Edu } else { DeviceModel::Inert },
        });
        GroupProfile { number: GroupNumber(self.number), devices: devices.collect() }
    }

    fn seat(&self) -> Seat {
        let is_edu = |(address, id, _): &(String, _, _)| *address == self.device && *id == EDU_ID;
        Seat {
            group: GroupNumber(self.number),
            address: self.device.clone(),
            is_edu: self.devices.iter().any(is_edu),
        }
    }
}
