//! The groups of a machine that sequences may use.

use tce_engine::{
    kernel::GroupNumber,
    machine::{Machine, MachineError},
};

use crate::edu::EDU_ID;

/// A group that may be used, and a device of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The group.
    pub group: GroupNumber,
    /// The device.
    pub address: String,
    /// Whether the device is an `edu`, which does DMA as it is told.
    pub is_edu: bool,
}

/// Why a machine has no use for a sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// A device that was named is not there, or in no group.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A device is not VFIO's.
    #[error("device {address} is not bound to vfio-pci; bind it, or name another with --device")]
    NotBound {
        /// Its address.
        address: String,
    },
    /// A neighbour of it is the host's.
    #[error(
        "group {group} of device {address} is not free: device {blocker} is driven by the host; bind it to vfio-pci too"
    )]
    Blocked {
        /// Its address.
        address: String,
        /// Its group.
        group: GroupNumber,
        /// The neighbour.
        blocker: String,
    },
    /// Two devices of one group were named.
    #[error("group {group} is named twice; name one device of each group")]
    Twice {
        /// The group.
        group: GroupNumber,
    },
    /// None was named, and none found.
    #[error(
        "no edu device is bound to vfio-pci here; name a device that may be used with --device"
    )]
    None,
}

/// The groups of these devices, in this order; without any, every group with an `edu` that VFIO can have.
///
/// # Errors
/// [`SeatError`].
pub fn seats<M: Machine>(machine: &M, addresses: &[String]) -> Result<Vec<Seat>, SeatError> {
    if !addresses.is_empty() {
        let seats: Vec<_> =
            addresses.iter().map(|address| seat(machine, address)).collect::<Result<_, _>>()?;
        let twice =
            |(at, seat): (usize, &Seat)| seats[..at].iter().any(|it| it.group == seat.group);
        return match seats.iter().enumerate().find(|it| twice(*it)) {
            Some((_, seat)) => Err(SeatError::Twice { group: seat.group }),
            None => Ok(seats),
        };
    }
    let edus = machine.groups().into_iter().filter_map(|group| {
        let devices = machine.devices_of(group);
        let edu = devices.iter().find(|device| device.id == EDU_ID)?;
        seat(machine, &edu.address).ok()
    });
    let edus: Vec<_> = edus.collect();
    if edus.is_empty() { Err(SeatError::None) } else { Ok(edus) }
}

fn seat<M: Machine>(machine: &M, address: &str) -> Result<Seat, SeatError> {
    let group = machine.group_of(address)?;
    let devices = machine.devices_of(group);
    let named = devices.iter().find(|device| device.address == address);
    let Some(device) = named.filter(|device| device.is_bound()) else {
        return Err(SeatError::NotBound { address: address.to_owned() });
    };
    if let Some(blocker) = devices.iter().find(|device| device.blocks_group) {
        let (address, blocker) = (address.to_owned(), blocker.address.clone());
        return Err(SeatError::Blocked { address, group, blocker });
    }
    Ok(Seat { group, address: address.to_owned(), is_edu: device.id == EDU_ID })
}
