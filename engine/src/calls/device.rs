//! Calls on one device: what it can do, what it may do, its reset.

use crate::{
    errno::Errno,
    fault::{Call, Fault, Operation},
    kernel::{DeviceFd, DeviceSpace, InterruptKind, Kernel},
};

use super::{
    Calls, check,
    command::{self, Command, Line},
    fault,
};

/// A device's descriptor, and its name in errors.
#[derive(Clone, Copy)]
pub(crate) struct DeviceRef<'a> {
    pub(crate) fd: DeviceFd,
    pub(crate) address: &'a str,
}

/// What can be done with a device.
pub(crate) struct Abilities {
    pub(crate) reset: FunctionReset,
    /// Kinds of interrupts that it has.
    pub(crate) interrupts: Vec<InterruptKind>,
}

/// Whether the kernel can reset a function by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FunctionReset {
    Works,
    None,
}

impl<K: Kernel> Calls<K> {
    pub(crate) fn abilities(&mut self, device: DeviceRef<'_>) -> Result<Abilities, Fault> {
        self.counts.add(Operation::Query);
        let reply = self.kernel.device_info(device.fd);
        check(reply.raw, || Call::DeviceInfo(device.address.to_owned()))?;
        let info = reply.out;
        let reset = if info.can_reset() { FunctionReset::Works } else { FunctionReset::None };
        let mut interrupts = Vec::new();
        for kind in InterruptKind::ALL {
            if kind.number() < info.interrupt_kinds && self.has_interrupts(device, kind)? {
                interrupts.push(kind);
            }
        }
        Ok(Abilities { reset, interrupts })
    }

    fn has_interrupts(
        &mut self,
        device: DeviceRef<'_>,
        kind: InterruptKind,
    ) -> Result<bool, Fault> {
        self.counts.add(Operation::Query);
        let reply = self.kernel.interrupt_info(device.fd, kind);
        let call = || Call::InterruptInfo { device: device.address.to_owned(), kind };
        check(reply.raw, call).map(|()| reply.out > 0)
    }

    /// Takes a kind of interrupts off, if it is on: no call tells which kind is, and one that is not is `EINVAL`.
    pub(crate) fn disable_interrupts(
        &mut self,
        device: DeviceRef<'_>,
        kind: InterruptKind,
    ) -> Result<(), Fault> {
        self.counts.add(Operation::DeviceAccess);
        let raw = self.kernel.disable_interrupts(device.fd, kind);
        let call = || Call::DisableInterrupts { device: device.address.to_owned(), kind };
        match check(raw, call) {
            Err(fault) if fault.errno() == Some(Errno::EINVAL) => Ok(()),
            result => result,
        }
    }

    /// The kernel ends bus mastering for as long as it resets, waits for transfers under way, and restores configuration
    /// space (`pci_try_reset_function`).
    pub(crate) fn reset_device(&mut self, device: DeviceRef<'_>) -> Result<(), Fault> {
        self.counts.add(Operation::DeviceAccess);
        let raw = self.kernel.reset_device(device.fd);
        check(raw, || Call::ResetDevice(device.address.to_owned()))
    }

    /// The command register. A device that is gone, or in a reset of its PE, gives ones or `ENODEV`
    /// (`pci_dev_is_disconnected`, `EEH_PE_CFG_BLOCKED`).
    pub(crate) fn command(&mut self, device: DeviceRef<'_>) -> Result<Command, Fault> {
        self.counts.add(Operation::DeviceAccess);
        let mut bytes = [0; 2];
        let read =
            self.kernel.read_device(device.fd, DeviceSpace::Config, command::OFFSET, &mut bytes);
        match read {
            Ok(()) => Ok(Command(u16::from_le_bytes(bytes))),
            Err(Errno::ENODEV) => Ok(Command::NO_ANSWER),
            Err(errno) => Err(failed(device, errno)),
        }
    }

    /// Ends bus mastering and the interrupt line, where the register was `old`, and reads back that it took effect.
    pub(crate) fn make_quiet(
        &mut self,
        device: DeviceRef<'_>,
        old: Command,
    ) -> Result<Command, Fault> {
        let now = self.write_command(device, old.quiet())?;
        if now.is_quiet() { Ok(now) } else { Err(failed(device, Errno::EIO)) }
    }

    /// Lets a device start transfers, with its line as told or as it is, and reads back that it took effect. Nothing can
    /// be let go that does not answer: `EIO`.
    pub(crate) fn let_go(
        &mut self,
        device: DeviceRef<'_>,
        line: Option<Line>,
    ) -> Result<(), Fault> {
        let old = self.command(device)?;
        if !old.is_answer() {
            return Err(failed(device, Errno::EIO));
        }
        let wanted = old.running(line.unwrap_or(old.line()));
        let now = self.write_command(device, wanted)?;
        if now.is_answer() && wanted.was_taken(now) {
            Ok(())
        } else {
            Err(failed(device, Errno::EIO))
        }
    }

    fn write_command(&mut self, device: DeviceRef<'_>, wanted: Command) -> Result<Command, Fault> {
        self.counts.add(Operation::DeviceAccess);
        let bytes = wanted.0.to_le_bytes();
        let written =
            self.kernel.write_device(device.fd, DeviceSpace::Config, command::OFFSET, &bytes);
        written.map_err(|errno| failed(device, errno))?;
        self.command(device)
    }
}

fn failed(device: DeviceRef<'_>, errno: Errno) -> Fault {
    fault(Call::CommandRegister(device.address.to_owned()), errno)
}
