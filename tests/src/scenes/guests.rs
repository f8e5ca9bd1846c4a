//! Scenes of what no engine stands between: a guest that sets TCEs by itself, and a device's interrupts and reset. They
//! are raw calls on the kernel, as those who build on the seam make them.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::GuestAddress,
    errno::Errno,
    kernel::{
        DeviceFd, DeviceSpace, EventFd, Fd, GuestTableCall, InjectedError, InterruptKind, Kernel,
        KvmVfioFd, Platform, Raw, VmFd,
    },
    machine::{HypercallRegisters, Machine},
};

use super::bare::{Bare, READ_WRITE, done, failed};

const LIOBN: u64 = 0x8000_0001;
/// The guest's TCE pages, which are the default window's.
const PAGE: u64 = 4096;
/// The guest's table: the first pages of the default window.
const TCES: u64 = 64;
/// The command register and its bit for bus mastering.
const COMMAND: u64 = 4;
const BUS_MASTER: u16 = 4;
/// How long an interrupt may take on a busy machine, and how long one is waited for that must not come.
const POLLS_MAX: u32 = 400;
const POLLS_FOR_NONE: u32 = 10;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A guest's processor sets, reads and clears TCEs of a window that follows its table. The kernel answers it without
/// the process, and what the device reaches is what the guest has set.
///
/// # Errors
/// What did not come out so, and where a host has no KVM.
pub fn a_guest_sets_tces_without_its_process<M: Machine>(machine: &mut M) -> Result<()> {
    let mut bare = Bare::new(machine)?;
    if bare.kernel.system().platform == Platform::Pseries {
        let vm = bare.kernel.create_vm();
        ensure!(vm == Err(Errno::ENOENT), "a partition has virtual machines: {vm:?}");
        return bare.close(&[]);
    }
    let vm = bare.kernel.create_vm().map_err(failed("KVM_CREATE_VM; is kvm_hv loaded?"))?;
    let link = bare.kernel.create_kvm_vfio(vm).map_err(failed("the link"))?;
    let descriptors = bare.guest(vm, link)?;
    bare.close(&descriptors)
}

/// Interrupts of one kind are on at a time. Off they are when the kernel says that they were not on; configuration space
/// does not tell. A reset takes neither them nor bus mastering off. Errors are injected nowhere that is emulated.
///
/// # Errors
/// What did not come out so.
pub fn a_device_is_quiet_when_its_interrupts_are_off<M: Machine>(machine: &mut M) -> Result<()> {
    let mut bare = Bare::new(machine)?;
    let event = bare.kernel.open_event().map_err(failed("an event"))?;
    let not_on = Raw::Failed(Errno::EINVAL);
    let (msi, line) = (InterruptKind::Msi, InterruptKind::Intx);
    for kind in [line, msi] {
        let count = bare.kernel.interrupt_info(bare.device, kind);
        ensure!((count.raw, count.out) == (Raw::OK, 1), "{kind:?}: {count:?}");
        bare.is("off before", |kernel, device| kernel.disable_interrupts(device, kind), not_on)?;
        bare.is("on", |kernel, device| kernel.enable_interrupts(device, kind, event), Raw::OK)?;
        let other = if kind == msi { line } else { msi };
        let another =
            |kernel: &mut M::Kernel, device| kernel.enable_interrupts(device, other, event);
        bare.is("another kind", another, not_on)?;
        bare.interrupts(event, 1).with_context(|| format!("{kind:?} on"))?;
        bare.is("off", |kernel, device| kernel.disable_interrupts(device, kind), Raw::OK)?;
        bare.is("off again", |kernel, device| kernel.disable_interrupts(device, kind), not_on)?;
        bare.interrupts(event, 0).with_context(|| format!("{kind:?} off"))?;
    }
    bare.is("on", |kernel, device| kernel.enable_interrupts(device, msi, event), Raw::OK)?;
    bare.reset()?;
    ensure!(bare.command()? & BUS_MASTER != 0, "the reset took bus mastering");
    bare.interrupts(event, 1).context("after a reset")?;
    let command = bare.command()?;
    bare.set_command(command & !BUS_MASTER)?;
    ensure!(bare.command()? & BUS_MASTER == 0, "bus mastering stays on");
    bare.interrupts(event, 0).context("without bus mastering")?;
    bare.inject()?;
    bare.close(&[event.fd()])
}

impl<M: Machine> Bare<'_, M> {
    /// The story of a guest. Returns the descriptors to close.
    fn guest(&mut self, vm: VmFd, link: KvmVfioFd) -> Result<[Fd; 3]> {
        let call = GuestTableCall { liobn: LIOBN, page_shift: 12, offset: 0, size: TCES };
        let table = self.kernel.create_guest_table(vm, call).map_err(failed("the table"))?;
        done("GROUP_ADD", self.kernel.add_group(link, self.group))?;
        done("SET_SPAPR_TCE", self.kernel.attach_guest_table(link, self.group, table))?;
        self.machine.set_guest_memory(vm, GuestAddress::new(0), self.memory)?;

        let (there, here) = (3 * PAGE, 5 * PAGE);
        self.moves(there, here, false).context("before the guest has set anything")?;
        self.answers(vm, HypercallRegisters::put_tce(LIOBN, there, here | READ_WRITE), None)?;
        self.moves(there, here, true).context("what the guest has set")?;
        let get = HypercallRegisters::get_tce(LIOBN, there);
        self.answers(vm, get, Some(here | READ_WRITE))?;
        let mut tces = [0; 5];
        let read = self.kernel.read_guest_table(table, 0, &mut tces);
        ensure!(read == Ok(()) && tces == [0, 0, 0, here | READ_WRITE, 0], "{read:?} {tces:x?}");
        let beyond = self.kernel.read_guest_table(table, TCES - 4, &mut tces);
        ensure!(beyond == Err(Errno::EINVAL), "behind the table: {beyond:?}");

        let stuff = HypercallRegisters::stuff_tce(LIOBN, there, 0, 2);
        self.leaves(vm, stuff)?;
        self.machine.enable_multi_tce(vm)?;
        self.answers(vm, stuff, None)?;
        self.moves(there, here, false).context("what the guest has cleared")?;
        self.leaves(vm, HypercallRegisters::put_tce(LIOBN + 1, there, here | READ_WRITE))?;

        self.list(7 * PAGE, &[here | READ_WRITE, (here + PAGE) | READ_WRITE])?;
        self.answers(vm, HypercallRegisters::put_tce_indirect(LIOBN, there, 7 * PAGE, 2), None)?;
        self.moves(there + PAGE, here + PAGE, true).context("from a list")?;
        done("GROUP_DEL", self.kernel.delete_group(link, self.group))?;
        Ok([table.fd(), link.fd(), vm.fd()])
    }

    /// Puts a list of TCEs into the guest's memory.
    fn list(&mut self, at: u64, tces: &[u64]) -> Result<()> {
        let bytes: Vec<u8> = tces.iter().flat_map(|tce| tce.to_be_bytes()).collect();
        Ok(self.machine.write_memory(self.at(at)?, &bytes)?)
    }

    /// A call on the device comes out so.
    fn is(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut M::Kernel, DeviceFd) -> Raw,
        expected: Raw,
    ) -> Result<()> {
        let raw = call(&mut self.kernel, self.device);
        ensure!(raw == expected, "interrupts {what}: {raw:?}");
        Ok(())
    }

    /// The device raises its interrupt, and so much is counted.
    fn interrupts(&mut self, event: EventFd, expected: u64) -> Result<()> {
        self.with_edu(|edu| edu.raise_interrupt())?;
        let polls = if expected == 0 { POLLS_FOR_NONE } else { POLLS_MAX };
        let mut counted = 0;
        for _ in 0..polls {
            counted = self.kernel.read_event(event).unwrap_or(0);
            if counted > 0 {
                break;
            }
            sleep(POLL_INTERVAL);
        }
        self.with_edu(|edu| edu.acknowledge_interrupt())?;
        ensure!(counted == expected, "{counted} interrupts were counted, not {expected}");
        Ok(())
    }

    /// The function is reset, or has no reset, as it said.
    fn reset(&mut self) -> Result<()> {
        let info = self.kernel.device_info(self.device);
        done("DEVICE_GET_INFO", info.raw)?;
        let reset = self.kernel.reset_device(self.device);
        let expected = if info.out.can_reset() { Raw::OK } else { Raw::Failed(Errno::EINVAL) };
        ensure!(reset == expected, "{:?}, but the reset gave {reset:?}", info.out);
        Ok(())
    }

    fn command(&mut self) -> Result<u16> {
        let mut bytes = [0; 2];
        let read = self.kernel.read_device(self.device, DeviceSpace::Config, COMMAND, &mut bytes);
        read.map_err(failed("the command register"))?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn set_command(&mut self, command: u16) -> Result<()> {
        let bytes = command.to_le_bytes();
        let written = self.kernel.write_device(self.device, DeviceSpace::Config, COMMAND, &bytes);
        written.map_err(failed("the command register"))
    }

    /// No emulated machine injects an error: its firmware does not know how to, or it has no EEH.
    fn inject(&mut self) -> Result<()> {
        let error = InjectedError { width: 1, function: 6, address: 0, mask: 0 };
        let raw = self.kernel.inject_error(self.container, error);
        let errno = match self.kernel.system().platform {
            Platform::Powernv => Errno::EIO,
            Platform::Pseries => Errno::ENODEV,
        };
        ensure!(raw == Raw::Failed(errno), "the injection of an error gave {raw:?}");
        Ok(())
    }
}
