//! Devices as PCI functions: their reset and their interrupts. And errors that are injected into their PE.

use tce_engine::{
    errno::Errno,
    kernel::{
        DeviceFd, DeviceInfo, DeviceSpace, EventFd, Fd, InjectedError, InterruptKind, Kernel, Raw,
    },
    machine::Machine,
};
use tce_sim::{PeState, Profile, profile::DmaError};

use crate::bench::{Bench, OK, failed};

const BAR: DeviceSpace = DeviceSpace::Bar(0);
/// The command register with memory space and bus mastering on.
const COMMAND: u64 = 4;
const MEMORY_AND_MASTER: [u8; 2] = [6, 0];
/// Registers of the `edu`.
const LIVENESS: u64 = 0x04;
const STATUS: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;

struct Function {
    bench: Bench,
    device: DeviceFd,
}

impl Function {
    fn new(profile: &str, address: &str) -> Self {
        let mut bench = Bench::named(profile);
        let device = bench.kernel.open_device(bench.group, address).expect("it is there");
        let mut function = Self { bench, device };
        function.command(MEMORY_AND_MASTER);
        function
    }

    fn powernv() -> Self {
        Self::new("powernv9", "0000:01:00.0")
    }

    fn command(&mut self, value: [u8; 2]) {
        let written =
            self.bench.kernel.write_device(self.device, DeviceSpace::Config, COMMAND, &value);
        written.expect("it is inside");
    }

    fn is_bus_master(&mut self) -> bool {
        let mut command = [0; 2];
        let read =
            self.bench.kernel.read_device(self.device, DeviceSpace::Config, COMMAND, &mut command);
        read.expect("it is inside");
        command[0] & 4 != 0
    }

    fn write(&mut self, register: u64, value: u32) {
        let bytes = value.to_be_bytes();
        self.bench.kernel.write_device(self.device, BAR, register, &bytes).expect("it is inside");
    }

    fn read(&mut self, register: u64) -> u32 {
        let mut bytes = [0; 4];
        let read = self.bench.kernel.read_device(self.device, BAR, register, &mut bytes);
        read.expect("it is inside");
        u32::from_be_bytes(bytes)
    }

    fn event(&mut self) -> EventFd {
        self.bench.kernel.open_event().expect("there is room")
    }

    fn enable(&mut self, kind: InterruptKind, event: EventFd) -> Raw {
        self.bench.kernel.enable_interrupts(self.device, kind, event)
    }

    fn disable(&mut self, kind: InterruptKind) -> Raw {
        self.bench.kernel.disable_interrupts(self.device, kind)
    }

    fn counted(&mut self, event: EventFd) -> u64 {
        self.bench.kernel.read_event(event).unwrap_or(0)
    }
}

#[test]
fn a_reset_takes_the_devices_state_and_leaves_its_configuration() {
    let mut function = Function::powernv();
    let info = function.bench.kernel.device_info(function.device);
    assert_eq!((info.raw, info.out.can_reset()), (OK, true));
    function.write(LIVENESS, 0x1234);
    assert_eq!(function.read(LIVENESS), !0x1234);
    assert_eq!(function.bench.kernel.reset_device(function.device), OK);
    assert_eq!(function.read(LIVENESS), 0);
    assert!(function.is_bus_master(), "a reset alone does not quiesce");
}

#[test]
fn a_partitions_functions_have_no_reset() {
    let mut function = Function::new("pseries", "0000:00:00.0");
    let info = function.bench.kernel.device_info(function.device);
    assert_eq!((info.raw, info.out.can_reset()), (OK, false));
    function.write(LIVENESS, 0x1234);
    assert_eq!(function.bench.kernel.reset_device(function.device), failed(Errno::EINVAL));
    assert_eq!(function.read(LIVENESS), !0x1234);
}

#[test]
fn interrupts_of_one_kind_are_on_at_a_time() {
    let mut function = Function::powernv();
    let counts = InterruptKind::ALL.map(|kind| {
        let reply = function.bench.kernel.interrupt_info(function.device, kind);
        assert_eq!(reply.raw, OK);
        reply.out
    });
    assert_eq!(counts, [1, 1, 0]);
    let event = function.event();
    let refused = failed(Errno::EINVAL);
    for kind in InterruptKind::ALL {
        assert_eq!(function.disable(kind), refused, "{kind:?} is not on");
    }
    assert_eq!(function.enable(InterruptKind::Msix, event), refused, "there are none");
    assert_eq!(function.enable(InterruptKind::Msi, event), OK);
    assert_eq!(function.enable(InterruptKind::Intx, event), refused, "others are on");
    assert_eq!(function.disable(InterruptKind::Intx), refused, "others are on");
    let second = function.event();
    assert_eq!(function.enable(InterruptKind::Msi, second), OK, "another event");
    function.write(RAISE, 1);
    assert_eq!((function.counted(event), function.counted(second)), (0, 1));
    assert_eq!(function.disable(InterruptKind::Msi), OK);
    assert_eq!(function.enable(InterruptKind::Intx, event), OK);
}

#[test]
fn messages_count_while_they_are_on_and_the_device_is_a_bus_master() {
    let mut function = Function::powernv();
    let event = function.event();
    assert_eq!(function.enable(InterruptKind::Msi, event), OK);
    function.write(RAISE, 1);
    function.write(RAISE, 1);
    assert_eq!((function.counted(event), function.read(STATUS)), (2, 1));
    function.command([2, 0]);
    function.write(RAISE, 1);
    assert_eq!(function.counted(event), 0, "a message is a write to memory");
    function.command(MEMORY_AND_MASTER);
    assert_eq!(function.disable(InterruptKind::Msi), OK);
    function.write(RAISE, 1);
    assert_eq!(function.counted(event), 0, "they are off");
}

#[test]
fn the_line_counts_once_until_it_is_enabled_anew() {
    let mut function = Function::powernv();
    let event = function.event();
    assert_eq!(function.enable(InterruptKind::Intx, event), OK);
    function.write(RAISE, 2);
    function.write(ACKNOWLEDGE, 2);
    function.write(RAISE, 1);
    assert_eq!(function.counted(event), 1, "then it is masked");
    function.write(ACKNOWLEDGE, 1);
    assert_eq!(function.read(STATUS), 0);
    for _ in 0..2 {
        assert_eq!(function.disable(InterruptKind::Intx), OK);
        assert_eq!(function.enable(InterruptKind::Intx, event), OK);
        function.write(RAISE, 1);
        assert_eq!(function.counted(event), 1, "open again");
    }
    assert_eq!(function.disable(InterruptKind::Intx), OK);
    assert_eq!(function.enable(InterruptKind::Intx, event), OK);
    function.command([2, 4]);
    function.write(RAISE, 1);
    assert_eq!(function.counted(event), 0, "switched off in the command register");
}

#[test]
fn the_last_close_takes_interrupts_off() {
    let mut function = Function::powernv();
    let event = function.event();
    assert_eq!(function.enable(InterruptKind::Msi, event), OK);
    function.bench.kernel.close(function.device.fd()).expect("it is open");
    let group = function.bench.group;
    function.device =
        function.bench.kernel.open_device(group, "0000:01:00.0").expect("it is there");
    function.command(MEMORY_AND_MASTER);
    function.write(RAISE, 1);
    assert_eq!(function.counted(event), 0);
    assert_eq!(function.disable(InterruptKind::Msi), failed(Errno::EINVAL));
}

#[test]
fn calls_of_devices_need_a_device_and_an_event() {
    let mut function = Function::powernv();
    let event = function.event();
    let group = DeviceFd::new(function.bench.group.fd());
    let closed = DeviceFd::new(Fd::new(99));
    let kernel = &mut function.bench.kernel;
    for (device, errno) in [(group, Errno::ENOTTY), (closed, Errno::EBADF)] {
        let info = kernel.device_info(device);
        assert_eq!((info.raw, info.out), (failed(errno), DeviceInfo::default()));
        assert_eq!(kernel.reset_device(device), failed(errno));
        assert_eq!(kernel.interrupt_info(device, InterruptKind::Msi).raw, failed(errno));
        assert_eq!(kernel.enable_interrupts(device, InterruptKind::Msi, event), failed(errno));
        assert_eq!(kernel.disable_interrupts(device, InterruptKind::Msi), failed(errno));
    }
    let no_event = EventFd::new(function.device.fd());
    assert_eq!(function.enable(InterruptKind::Msi, no_event), failed(Errno::EINVAL));
    let closed = EventFd::new(Fd::new(99));
    assert_eq!(function.enable(InterruptKind::Msi, closed), failed(Errno::EBADF));
}

#[test]
fn a_reset_leaves_interrupts_on() {
    let mut function = Function::powernv();
    let event = function.event();
    assert_eq!(function.enable(InterruptKind::Msi, event), OK);
    assert_eq!(function.bench.kernel.reset_device(function.device), OK);
    function.write(RAISE, 1);
    assert_eq!(function.counted(event), 1, "a reset alone does not quiesce");
}

#[test]
fn whether_messages_are_on_does_not_show_in_configuration_space() {
    let mut function = Function::powernv();
    let capability = |function: &mut Function| {
        let mut bytes = [0; 4];
        let read = function.bench.kernel.read_device(
            function.device,
            DeviceSpace::Config,
            0x40,
            &mut bytes,
        );
        read.expect("it is inside");
        bytes
    };
    assert_eq!(capability(&mut function), [0x05, 0, 0x80, 0]);
    let event = function.event();
    assert_eq!(function.enable(InterruptKind::Msi, event), OK);
    assert_eq!(capability(&mut function), [0x05, 0, 0x80, 0]);
}

#[test]
fn an_injected_error_freezes_the_pe_where_the_firmware_can_inject_one() {
    let error = InjectedError { width: 1, function: 6, address: 0, mask: 0 };
    let inject = |profile: Profile, error| {
        let mut bench = Bench::new(profile);
        let number = bench.machine.groups()[0];
        let raw = bench.kernel.inject_error(bench.container, error);
        (raw, bench.machine.pe_state(number).expect("it is a group"))
    };
    let hardware = || Profile { dma_error: DmaError::FreezesPe, ..Profile::powernv9() };
    assert_eq!(inject(hardware(), error), (OK, PeState::Stopped));
    let strange = InjectedError { function: 20, ..error };
    assert_eq!(inject(hardware(), strange), (failed(Errno::EINVAL), PeState::Normal));
    let strange = InjectedError { width: 2, ..error };
    assert_eq!(inject(hardware(), strange), (failed(Errno::ERANGE), PeState::Normal));
    assert_eq!(inject(Profile::powernv9(), error), (failed(Errno::EIO), PeState::Normal));
    assert_eq!(inject(Profile::pseries(), error), (failed(Errno::ENODEV), PeState::Normal));
}
