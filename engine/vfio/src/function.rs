//! A device as a PCI function: what it can do, its reset and its interrupts.

use std::os::fd::AsRawFd as _;

use tce_engine::kernel::{DeviceInfo, InterruptKind, Raw, Reply};

use crate::{
    abi::{self, argsz},
    descriptors::Descriptor,
    ioctl,
};

/// What names no event.
const NO_EVENT: i32 = -1;

/// `VFIO_DEVICE_GET_INFO`.
pub(crate) fn info(device: &Descriptor) -> Reply<DeviceInfo> {
    let mut info =
        abi::vfio_device_info { argsz: argsz::<abi::vfio_device_info>(), ..Default::default() };
    let raw = ioctl::with(device, &abi::DEVICE_GET_INFO, &mut info);
    Reply { raw, out: DeviceInfo { flags: info.flags, interrupt_kinds: info.num_irqs } }
}

/// `VFIO_DEVICE_RESET`.
pub(crate) fn reset(device: &Descriptor) -> Raw {
    ioctl::plain(device, &abi::DEVICE_RESET)
}

/// `VFIO_DEVICE_GET_IRQ_INFO`.
pub(crate) fn interrupt_count(device: &Descriptor, kind: InterruptKind) -> Reply<u32> {
    let mut info = abi::vfio_irq_info {
        argsz: argsz::<abi::vfio_irq_info>(),
        index: kind.number(),
        ..Default::default()
    };
    let raw = ioctl::with(device, &abi::DEVICE_GET_IRQ_INFO, &mut info);
    Reply { raw, out: info.count }
}

/// `VFIO_DEVICE_SET_IRQS` with one event for the first interrupt of a kind, by the kind's number.
pub(crate) fn watch(device: &Descriptor, index: u32, event: &Descriptor) -> Raw {
    let flags = abi::VFIO_IRQ_SET_DATA_EVENTFD | abi::VFIO_IRQ_SET_ACTION_TRIGGER;
    set(device, flags, index, Some(event))
}

/// The same without data: off.
pub(crate) fn disable(device: &Descriptor, index: u32) -> Raw {
    let flags = abi::VFIO_IRQ_SET_DATA_NONE | abi::VFIO_IRQ_SET_ACTION_TRIGGER;
    set(device, flags, index, None)
}

fn set(device: &Descriptor, flags: u32, index: u32, event: Option<&Descriptor>) -> Raw {
    let mut request = abi::IrqEvent {
        argsz: argsz::<abi::IrqEvent>(),
        flags,
        index,
        start: 0,
        count: event.map_or(0, |_| 1),
        event: event.map_or(NO_EVENT, |event| event.file().as_raw_fd()),
    };
    ioctl::with(device, &abi::DEVICE_SET_IRQS, &mut request)
}
