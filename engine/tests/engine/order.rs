//! Invariant 8: the order of a take-down, as the kernel sees it.

use std::{cell::RefCell, rc::Rc};

use tce_engine::{
    Engine,
    addr::{Bytes, Iova},
    errno::Errno,
    facts::Slot,
    kernel::{
        ContainerFd, CreateCall, DescriptorKind, DeviceFd, DeviceSpace, EehOperation, EventFd,
        Extension, Fd, GroupFd, GroupNumber, GroupStatus, GuestTableCall, GuestTableFd, Kernel,
        KvmVfioFd, LockedMemory, MapCall, MemoryRange, Raw, Reply, SpaprInfo, SystemFacts,
        UnmapCall, VmFd,
    },
    machine::{Backing, Machine, MemoryRequest},
};
use tce_sim::{Profile, SimKernel, SimMachine};

use crate::bench::{K4, NOW, assert_nothing_left, choice, request};

type Log = Rc<RefCell<Vec<&'static str>>>;

/// A kernel that writes down what is taken back, and whether a device could start transfers just then.
struct Witness {
    kernel: SimKernel,
    devices: Vec<DeviceFd>,
    log: Log,
}

impl Witness {
    fn note(&mut self, quiet: &'static str, live: &'static str) {
        let is_live = |device: &DeviceFd| {
            let mut command = [0; 2];
            let read = self.kernel.read_device(*device, DeviceSpace::Config, 4, &mut command);
            read.is_ok() && command[0] & 4 != 0
        };
        let devices = self.devices.clone();
        let any_live = devices.iter().any(is_live);
        self.log.borrow_mut().push(if any_live { live } else { quiet });
    }
}

impl Kernel for Witness {
    fn system(&self) -> SystemFacts {
        self.kernel.system()
    }
    fn locked_memory(&mut self) -> Result<LockedMemory, Errno> {
        self.kernel.locked_memory()
    }
    fn kind(&mut self, fd: Fd) -> DescriptorKind {
        self.kernel.kind(fd)
    }
    fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        self.devices.retain(|device| device.fd() != fd);
        self.log.borrow_mut().push(match self.kernel.kind(fd) {
            DescriptorKind::Device => "close device",
            DescriptorKind::Group => "close group",
            _ => "close container",
        });
        self.kernel.close(fd)
    }
    fn open_container(&mut self) -> Result<ContainerFd, Errno> {
        self.kernel.open_container()
    }
    fn check_extension(&mut self, container: ContainerFd, extension: Extension) -> Raw {
        self.kernel.check_extension(container, extension)
    }
    fn set_iommu(&mut self, container: ContainerFd, backend: Extension) -> Raw {
        self.kernel.set_iommu(container, backend)
    }
    fn open_group(&mut self, group: GroupNumber) -> Result<GroupFd, Errno> {
        self.kernel.open_group(group)
    }
    fn group_status(&mut self, group: GroupFd) -> Reply<GroupStatus> {
        self.kernel.group_status(group)
    }
    fn set_container(&mut self, group: GroupFd, container: ContainerFd) -> Raw {
        self.kernel.set_container(group, container)
    }
    fn unset_container(&mut self, group: GroupFd) -> Raw {
        self.log.borrow_mut().push("unset");
        self.kernel.unset_container(group)
    }
    fn open_device(&mut self, group: GroupFd, address: &str) -> Result<DeviceFd, Errno> {
        let device = self.kernel.open_device(group, address)?;
        self.devices.push(device);
        Ok(device)
    }
    fn read_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        self.kernel.read_device(device, space, offset, bytes)
    }
    fn write_device(
        &mut self,
        device: DeviceFd,
        space: DeviceSpace,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        self.kernel.write_device(device, space, offset, bytes)
    }
    fn info(&mut self, container: ContainerFd) -> Reply<SpaprInfo> {
        self.kernel.info(container)
    }
    fn register(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.kernel.register(container, memory)
    }
    fn unregister(&mut self, container: ContainerFd, memory: MemoryRange) -> Raw {
        self.note("unregister", "unregister under DMA");
        self.kernel.unregister(container, memory)
    }
    fn create(&mut self, container: ContainerFd, call: CreateCall) -> Reply<Iova> {
        self.kernel.create(container, call)
    }
    fn remove(&mut self, container: ContainerFd, start: Iova) -> Raw {
        self.note("remove", "remove under DMA");
        self.kernel.remove(container, start)
    }
    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        self.kernel.map(container, call)
    }
    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        self.note("unmap", "unmap under DMA");
        self.kernel.unmap(container, call)
    }
    fn eeh(&mut self, container: ContainerFd, operation: EehOperation) -> Raw {
        self.kernel.eeh(container, operation)
    }
    fn open_event(&mut self) -> Result<EventFd, Errno> {
        self.kernel.open_event()
    }
    fn read_event(&mut self, event: EventFd) -> Result<u64, Errno> {
        self.kernel.read_event(event)
    }
    fn watch_requests(&mut self, device: DeviceFd, event: EventFd) -> Raw {
        self.kernel.watch_requests(device, event)
    }
    fn create_vm(&mut self) -> Result<VmFd, Errno> {
        self.kernel.create_vm()
    }
    fn create_kvm_vfio(&mut self, vm: VmFd) -> Result<KvmVfioFd, Errno> {
        self.kernel.create_kvm_vfio(vm)
    }
    fn create_guest_table(
        &mut self,
        vm: VmFd,
        call: GuestTableCall,
    ) -> Result<GuestTableFd, Errno> {
        self.kernel.create_guest_table(vm, call)
    }
    fn add_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.kernel.add_group(link, group)
    }
    fn delete_group(&mut self, link: KvmVfioFd, group: GroupFd) -> Raw {
        self.kernel.delete_group(link, group)
    }
    fn attach_guest_table(&mut self, link: KvmVfioFd, group: GroupFd, table: GuestTableFd) -> Raw {
        self.kernel.attach_guest_table(link, group, table)
    }
}

/// Two groups with a device each, a window, a region, two leases with mappings.
fn busy() -> (SimMachine, Engine<Witness>, Vec<tce_engine::lease::LeaseId>, Log) {
    let mut machine = SimMachine::new(Profile::powernv9());
    let log = Log::default();
    let witness = Witness { kernel: machine.kernel(), devices: Vec::new(), log: log.clone() };
    let mut engine = Engine::open(witness).expect("a fresh machine");
    for group in machine.groups() {
        engine.attach(group).expect("it is free");
        engine.open_device(group, &machine.devices_of(group)[0].address).expect("it is VFIO's");
    }
    let grant = engine.grant_layout(&[choice(Slot::One, K4, Bytes::mib(64))]).expect("it is free");
    let window = engine.create_windows(grant).expect("it can be made")[0];
    let (size, backing) = (Bytes::mib(1), Backing::Anonymous);
    let memory = machine.allocate(&MemoryRequest { size, backing, align: K4 }).expect("memory");
    let region = engine.register(memory, K4).expect("it can be pinned");
    let leases = [0; 2].map(|_| {
        let grant = engine.grant_lease(request(window, Bytes::mib(1))).expect("there is room");
        let iova = grant.claim().start;
        let lease = engine.lease(grant).expect("there is room");
        let (offset, access) = (Bytes::ZERO, tce_engine::access::Access::ReadWrite);
        let edit = tce_engine::edit::Edit::Map { iova, region, offset, size, access };
        engine.apply(lease, &[edit], NOW).expect("nothing speaks against it");
        lease
    });
    log.borrow_mut().clear();
    (machine, engine, leases.to_vec(), log)
}

#[test]
fn everything_is_taken_down_in_the_fixed_order() {
    let (machine, engine, _, log) = busy();
    engine.close().expect("nothing fails");
    let expected = [
        "unmap",
        "unmap",
        "unregister",
        "remove",
        "remove",
        "close device",
        "unset",
        "close group",
        "close device",
        "unset",
        "close group",
        "close container",
    ];
    assert_eq!(*log.borrow(), expected);
    assert_nothing_left(&machine);
}

#[test]
fn devices_are_quiet_before_a_lease_is_unmapped() {
    let (_, mut engine, leases, log) = busy();
    engine.revoke(leases[0]).expect("nothing fails");
    engine.resume_devices().expect("the other lease goes on");
    engine.revoke(leases[1]).expect("nothing fails");
    assert_eq!(*log.borrow(), ["unmap", "unmap"]);
}

#[test]
fn an_edit_of_the_holder_does_not_stop_its_device() {
    let (_, mut engine, leases, log) = busy();
    let claim = engine.leases().get(leases[0]).expect("it is there").claim;
    engine.apply(leases[0], &[tce_engine::edit::Edit::Unmap(claim)], NOW).expect("it may");
    assert_eq!(*log.borrow(), ["unmap under DMA"]);
}
