//! The simulated kernel with a witness of what is done to devices, and with devices that can do less.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use tce_engine::{
    Engine,
    errno::Errno,
    kernel::{
        ContainerFd, DeviceFd, DeviceInfo, DeviceSpace, EehOperation, InterruptKind, Kernel, Layer,
        Raw, Reply, UnmapCall,
    },
    machine::Machine,
};
use tce_sim::{Profile, SimKernel, SimMachine};

/// Bits of the command register: bus mastering, and the line being off.
const MASTER: u8 = 1 << 2;
const LINE_OFF: u8 = 1 << 2;

/// What the witness has seen, and how it spoils devices.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) seen: Vec<String>,
    /// Functions have no reset of their own.
    pub(crate) no_function_reset: bool,
    /// Devices are gone from the bus: reads give ones.
    pub(crate) gone: bool,
    /// After a function's reset, bus mastering is on.
    pub(crate) wakes_up: bool,
    /// Writes of the command register get lost.
    pub(crate) deaf: bool,
    /// What the state of PEs is said to be.
    pub(crate) pe_state: Option<i32>,
}

pub(crate) type Shared = Rc<RefCell<Record>>;

pub(crate) struct Witness {
    kernel: SimKernel,
    record: Shared,
    /// Devices that were last written to as bus masters.
    masters: BTreeSet<DeviceFd>,
}

impl Witness {
    fn see(&self, what: impl Into<String>) {
        self.record.borrow_mut().seen.push(what.into());
    }
}

impl Layer for Witness {
    type Below = SimKernel;

    fn below(&self) -> &SimKernel {
        &self.kernel
    }

    fn below_mut(&mut self) -> &mut SimKernel {
        &mut self.kernel
    }

    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        self.kernel.read_device(device, space, offset, bytes)?;
        if self.record.borrow().gone {
            bytes.fill(0xff);
        }
        Ok(())
    }

    fn write_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        if space == DeviceSpace::Config && offset == 4 {
            let master = if bytes[0] & MASTER == 0 {
                self.masters.remove(&device);
                "off"
            } else {
                self.masters.insert(device);
                "on"
            };
            let line = if bytes[1] & LINE_OFF == 0 { "open" } else { "off" };
            self.see(format!("master {master}, line {line}"));
            if self.record.borrow().deaf {
                return Ok(());
            }
        }
        self.kernel.write_device(device, space, offset, bytes)
    }

    fn device_info(&mut self, device: DeviceFd) -> Reply<DeviceInfo> {
        let mut reply = self.kernel.device_info(device);
        if self.record.borrow().no_function_reset {
            reply.out.flags &= !1;
        }
        reply
    }

    fn reset_device(&mut self, device: DeviceFd) -> Raw {
        let is_master = self.masters.contains(&device);
        self.see(if is_master { "reset of a bus master" } else { "reset" });
        let raw = self.kernel.reset_device(device);
        if self.record.borrow().wakes_up {
            let woken = self.kernel.write_device(device, DeviceSpace::Config, 4, &[6, 0]);
            woken.expect("the device is open");
        }
        raw
    }

    fn disable_interrupts(&mut self, device: DeviceFd, kind: InterruptKind) -> Raw {
        let raw = self.kernel.disable_interrupts(device, kind);
        let was_on = if raw == Raw::OK { "off" } else { "not on" };
        self.see(format!("{kind} {was_on}"));
        raw
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        self.see("unmap");
        self.kernel.unmap(container, call)
    }

    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        if operation == EehOperation::GetState {
            if let Some(state) = self.record.borrow().pe_state {
                return Raw::Returned(state);
            }
        } else {
            self.see(operation.to_string());
        }
        self.kernel.eeh(container, operation)
    }
}

/// A machine, and an engine whose container has `groups` of its groups with an open device each.
pub(crate) struct Witnessed {
    pub(crate) machine: SimMachine,
    pub(crate) engine: Engine<Witness>,
    pub(crate) devices: Vec<DeviceFd>,
    pub(crate) record: Shared,
}

impl Witnessed {
    pub(crate) fn new(profile: &str, groups: usize, record: Record) -> Self {
        let machine = SimMachine::new(Profile::named(profile).expect("it is a known name"));
        let record = Rc::new(RefCell::new(record));
        let masters = BTreeSet::new();
        let kernel = Witness { kernel: machine.kernel(), record: Rc::clone(&record), masters };
        let mut engine = Engine::open(kernel).expect("a fresh machine");
        let mut devices = Vec::new();
        for group in machine.groups().into_iter().take(groups) {
            engine.attach(group).expect("it is free");
            let address = &machine.devices_of(group)[0].address;
            devices.push(engine.open_device(group, address).expect("it is VFIO's"));
        }
        record.borrow_mut().seen.clear();
        Self { machine, engine, devices, record }
    }

    /// What was seen since this was last asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.record.borrow_mut().seen)
    }

    /// The command register as the machine has it.
    pub(crate) fn command(&self, at: usize) -> [u8; 2] {
        let mut command = [0; 2];
        let read = self.machine.kernel().read_device(
            self.devices[at],
            DeviceSpace::Config,
            4,
            &mut command,
        );
        read.expect("it is open");
        command
    }

    pub(crate) fn is_quiet(&self) -> bool {
        (0..self.devices.len()).all(|at| {
            let [low, high] = self.command(at);
            low & MASTER == 0 && high & LINE_OFF != 0
        })
    }
}
