//! What the machine this program runs on is like, so that the simulated one can be like it.

use tce_engine::{
    addr::{Bytes, Iova},
    errno::Errno,
    kernel::{Extension, GroupNumber, Kernel, Platform, Raw, SpaprInfo},
    machine::Machine,
};
use tce_sim::{
    Profile,
    profile::{DeviceModel, DeviceProfile, Eeh, GroupProfile, HugetlbPool, KernelVersion, Kvm},
};
use tce_vfio::{
    OpenError, Release, Root, VfioMachine,
    survey::{ProbeError, probe, survey},
};

use crate::stage::{Seat, SeatError, seats};

/// TCE pages that only POWER8's host bridge has: 16 MiB.
const PAGE_16M: u64 = 1 << 24;

/// Why the machine cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It has no such backend.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// None of its devices can be used.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// Its container does not answer.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Its container cannot be asked.
    #[error("asking /dev/vfio/vfio: {0}")]
    Ask(Errno),
    /// Its kernel's release has no numbers.
    #[error("the kernel's release `{0}` has no version number")]
    Release(String),
    /// No such machine can be simulated.
    #[error("there is no simulated {0} machine")]
    NoProfile(Platform),
}

/// The machine this program runs on.
#[derive(Clone, Debug)]
pub struct Look {
    /// The simulated machine that is like it.
    pub profile: Profile,
    /// The groups that may be used.
    pub seats: Vec<Seat>,
    /// Its kernel, as it calls itself.
    pub kernel: String,
}

/// Looks at this machine. Devices may be named; without names every `edu` bound to vfio-pci is used.
///
/// # Errors
/// [`LookError`].
pub fn look(addresses: &[String]) -> Result<Look, LookError> {
    let machine = VfioMachine::open()?;
    let seats = seats(&machine, addresses)?;
    let first = seats.first().ok_or(SeatError::None)?.group;
    let mut kernel = machine.kernel();
    let info = probe(&mut kernel, first)?;
    let eeh = eeh(&mut kernel)?;
    let survey = survey(&Root::default());
    let version = version(&survey.kernel)?;
    let pools = survey.huge_pages.iter();
    let hugetlb = pools.map(|pool| HugetlbPool { page: pool.page_shift, free: pool.free });
    let base = base(kernel.system().platform, &info)?;
    let profile = Profile {
        kernel: version,
        page_shift: kernel.system().page_shift,
        page_sizes: info.page_sizes,
        windows_max: info.windows_max,
        levels_max: info.levels_max,
        default_window: Bytes::new(u64::from(info.dma32_window_size)),
        slot_starts: [Iova::new(u64::from(info.dma32_window_start)), base.slot_starts[1]],
        eeh,
        kvm: kvm(&mut kernel)?,
        locked_limit: None,
        hugetlb: hugetlb.collect(),
        groups: seats.iter().map(|seat| group(&machine, seat.group)).collect(),
        ..base
    };
    Ok(Look { profile, seats, kernel: survey.kernel })
}

fn base(platform: Platform, info: &SpaprInfo) -> Result<Profile, LookError> {
    let name = match platform {
        Platform::Pseries => "pseries",
        Platform::Powernv if info.page_sizes & PAGE_16M != 0 => "powernv8",
        Platform::Powernv => "powernv9",
    };
    Profile::named(name).ok_or(LookError::NoProfile(platform))
}

fn version(release: &str) -> Result<KernelVersion, LookError> {
    let unknown = || LookError::Release(release.to_owned());
    let (major, minor, patch) = Release::parse(release).ok_or_else(unknown)?.numbers();
    let number = |number| u16::try_from(number).map_err(|_| unknown());
    Ok(KernelVersion::new(number(major)?, number(minor)?, number(patch)?))
}

fn eeh(kernel: &mut impl Kernel) -> Result<Eeh, LookError> {
    let container = kernel.open_container().map_err(LookError::Ask)?;
    let answer = kernel.check_extension(container, Extension::Eeh);
    kernel.close(container.fd()).map_err(LookError::Ask)?;
    Ok(match answer {
        Raw::Returned(1..) => Eeh::Enabled,
        Raw::Returned(_) | Raw::Failed(_) => Eeh::Absent,
    })
}

fn kvm(kernel: &mut impl Kernel) -> Result<Kvm, LookError> {
    match kernel.create_vm() {
        Ok(vm) => kernel.close(vm.fd()).map(|()| Kvm::Available).map_err(LookError::Ask),
        Err(_) => Ok(Kvm::Absent),
    }
}

fn group(machine: &VfioMachine, number: GroupNumber) -> GroupProfile {
    let devices = machine.devices_of(number).into_iter().map(|device| {
        let is_edu = device.id == crate::edu::EDU_ID;
        let model = if is_edu { DeviceModel::Edu } else { DeviceModel::Inert };
        DeviceProfile { address: device.address, id: device.id, driver: device.driver, model }
    });
    GroupProfile { number, devices: devices.collect() }
}
