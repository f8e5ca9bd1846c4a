//! What the machine this program runs on is like, so that the simulated one can be like it.

use tce_engine::{
    errno::Errno,
    kernel::{Extension, Kernel, Raw},
    machine::Machine,
};
use tce_vfio::{
    OpenError, Root, VfioMachine,
    survey::{ProbeError, probe, survey},
};

use crate::{
    machine::{Description, DescriptionError, Group, Look},
    seat::{Seat, SeatError, seats},
};

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
    /// No such machine can be simulated.
    #[error(transparent)]
    Description(#[from] DescriptionError),
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
    let survey = survey(&Root::default());
    let pools = survey.huge_pages.iter().map(|pool| (pool.page_shift.raw(), pool.free));
    let description = Description {
        platform: kernel.system().platform.to_string(),
        kernel: survey.kernel.clone(),
        page_shift: kernel.system().page_shift.raw(),
        page_sizes: info.page_sizes,
        limits: (info.windows_max, info.levels_max),
        default_window: (info.dma32_window_start, info.dma32_window_size),
        eeh: has_eeh(&mut kernel)?,
        kvm: has_kvm(&mut kernel)?,
        huge_pages: pools.collect(),
        groups: seats.iter().map(|seat| group(&machine, seat)).collect(),
    };
    Ok(description.look()?)
}

fn has_eeh(kernel: &mut impl Kernel) -> Result<bool, LookError> {
    let container = kernel.open_container().map_err(LookError::Ask)?;
    let answer = kernel.check_extension(container, Extension::Eeh);
    kernel.close(container.fd()).map_err(LookError::Ask)?;
    Ok(matches!(answer, Raw::Returned(1..)))
}

fn has_kvm(kernel: &mut impl Kernel) -> Result<bool, LookError> {
    match kernel.create_vm() {
        Ok(vm) => kernel.close(vm.fd()).map(|()| true).map_err(LookError::Ask),
        Err(_) => Ok(false),
    }
}

fn group(machine: &VfioMachine, seat: &Seat) -> Group {
    let devices = machine.devices_of(seat.group).into_iter();
    let devices = devices.map(|device| (device.address, device.id, device.driver));
    Group { number: seat.group.0, device: seat.address.clone(), devices: devices.collect() }
}
