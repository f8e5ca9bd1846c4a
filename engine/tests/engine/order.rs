//! Invariant 8: the order of a take-down, as the kernel sees it.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use tce_engine::{
    Engine,
    addr::Bytes,
    facts::Slot,
    kernel::{DeviceFd, DeviceSpace, Fd, Kernel},
    machine::{Backing, Machine, MemoryRequest},
};
use tce_sim::{Profile, SimKernel, SimMachine};
use tce_trace::{
    event::{Call, Event},
    kernel::NotedKernel,
};

use crate::bench::{K4, NOW, assert_nothing_left, choice, request};

type Log = Rc<RefCell<Vec<&'static str>>>;
type Noted = NotedKernel<SimKernel, Box<dyn FnMut(Event)>>;

/// Writes down what is taken back, and whether a device could start transfers just then.
struct Witness {
    /// The same process, beside the engine.
    kernel: SimKernel,
    open: BTreeMap<Fd, &'static str>,
    log: Log,
}

impl Witness {
    fn see(&mut self, event: &Event) {
        let seen = match event.call {
            Call::OpenContainer => return self.opened(event, CONTAINER),
            Call::OpenGroup { .. } => return self.opened(event, GROUP),
            Call::OpenDevice { .. } => return self.opened(event, DEVICE),
            Call::Close { fd } => self.open.remove(&fd).unwrap_or("close something else"),
            Call::UnsetContainer { .. } => self.under_dma("unset", "unset under DMA"),
            Call::Unregister { .. } => self.under_dma("unregister", "unregister under DMA"),
            Call::Remove { .. } => self.under_dma("remove", "remove under DMA"),
            Call::Unmap { .. } => self.under_dma("unmap", "unmap under DMA"),
            _ => return,
        };
        self.log.borrow_mut().push(seen);
    }

    fn opened(&mut self, event: &Event, closing: &'static str) {
        self.open.extend(event.answer.descriptor().map(|fd| (fd, closing)));
    }

    fn under_dma(&mut self, quiet: &'static str, live: &'static str) -> &'static str {
        let mut devices = self.open.iter().filter(|(_, closing)| **closing == DEVICE);
        let is_live = devices.any(|(fd, _)| {
            let (device, mut command) = (DeviceFd::new(*fd), [0; 2]);
            let read = self.kernel.read_device(device, DeviceSpace::Config, 4, &mut command);
            read.is_ok() && command[0] & 4 != 0
        });
        if is_live { live } else { quiet }
    }
}

const CONTAINER: &str = "close container";
const GROUP: &str = "close group";
const DEVICE: &str = "close device";

/// Two groups with a device each, a window, a region, two leases with mappings.
fn busy() -> (SimMachine, Engine<Noted>, Vec<tce_engine::lease::LeaseId>, Log) {
    let mut machine = SimMachine::new(Profile::powernv9());
    let log = Log::default();
    let (kernel, open) = (machine.kernel(), BTreeMap::new());
    let mut witness = Witness { kernel, open, log: log.clone() };
    let see = Box::new(move |event| witness.see(&event));
    let mut engine = Engine::open(Noted::new(machine.kernel(), see)).expect("a fresh machine");
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
        "close something else",
        "unset",
        "close group",
        "close device",
        "close something else",
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
fn devices_of_all_groups_are_quiet_when_one_group_leaves() {
    let (machine, mut engine, _, log) = busy();
    engine.part(machine.groups()[1]).expect("nothing fails");
    assert_eq!(*log.borrow(), ["close device", "close something else", "unset", "close group"]);
}

#[test]
fn an_edit_of_the_holder_does_not_stop_its_device() {
    let (_, mut engine, leases, log) = busy();
    let claim = engine.leases().get(leases[0]).expect("it is there").home().claim;
    engine.apply(leases[0], &[tce_engine::edit::Edit::Unmap(claim)], NOW).expect("it may");
    assert_eq!(*log.borrow(), ["unmap under DMA"]);
}
