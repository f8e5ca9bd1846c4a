//! A virtual machine beside the bench's container.

use tce_engine::{
    addr::GuestAddress,
    errno::Errno,
    kernel::{GroupFd, GuestTableCall, GuestTableFd, Kernel, KvmVfioFd, MemoryRange, Raw, VmFd},
    machine::{HypercallRegisters, Machine, MachineError},
    papr::ReturnCode,
};
use tce_sim::SimMachine;

use crate::bench::{Bench, OK};

/// The name of the guest's table.
pub(crate) const LIOBN: u64 = 0x8000_0001;

/// How a hypercall that sets TCEs ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HypercallAnswer {
    Success,
    Parameter,
    TooHard,
}

/// Lets a guest make a hypercall.
pub(crate) fn hypercall(
    machine: &SimMachine,
    vm: VmFd,
    call: HypercallRegisters,
) -> HypercallAnswer {
    match machine.clone().hypercall(vm, call).expect("it is a virtual machine").code() {
        None => HypercallAnswer::TooHard,
        Some(code) if code == ReturnCode::Success.register() => HypercallAnswer::Success,
        Some(code) if code == ReturnCode::Parameter.register() => HypercallAnswer::Parameter,
        Some(code) => panic!("no call here answers {code:#x}"),
    }
}

/// What the guest has set in its own table; `None` outside.
pub(crate) fn guest_tce(bench: &mut Bench, table: GuestTableFd, index: u64) -> Option<u64> {
    let mut tce = [0];
    match bench.kernel.read_guest_table(table, index, &mut tce) {
        Ok(()) => Some(tce[0]),
        Err(errno) => {
            assert_eq!(errno, Errno::EINVAL);
            None
        }
    }
}

/// The errno of what a virtual machine refused.
pub(crate) fn refusal<T>(result: Result<T, MachineError>) -> Option<Errno> {
    match result {
        Err(MachineError::Guest { errno, .. }) => Some(errno),
        _ => None,
    }
}

/// A guest with a link to VFIO.
pub(crate) struct Guest {
    pub(crate) vm: VmFd,
    pub(crate) link: KvmVfioFd,
}

impl Guest {
    pub(crate) fn new(bench: &mut Bench) -> Self {
        let vm = bench.kernel.create_vm().expect("there is KVM");
        let link = bench.kernel.create_kvm_vfio(vm).expect("it is the first");
        Self { vm, link }
    }

    /// One whose memory from 0 on is this, and whose table of `pages` pages of 4 KiB follows the first window, which a
    /// map has made.
    pub(crate) fn leasing(
        bench: &mut Bench,
        memory: MemoryRange,
        pages: u64,
    ) -> (Self, GuestTableFd) {
        let guest = Self::new(bench);
        bench.machine.enable_multi_tce(guest.vm).expect("it is ours");
        bench
            .machine
            .set_guest_memory(guest.vm, GuestAddress::new(0), memory)
            .expect("it is whole pages");
        let table = guest.table(bench, table_at_zero(LIOBN, 12, pages));
        assert_eq!(bench.kernel.add_group(guest.link, bench.group), OK);
        assert_eq!(guest.attach(bench, table), OK);
        (guest, table)
    }

    pub(crate) fn table(&self, bench: &mut Bench, call: GuestTableCall) -> GuestTableFd {
        bench.kernel.create_guest_table(self.vm, call).expect("it is a table")
    }

    /// Makes the bench's group's window follow a table.
    pub(crate) fn attach(&self, bench: &mut Bench, table: GuestTableFd) -> Raw {
        self.attach_of(bench, bench.group, table)
    }

    pub(crate) fn attach_of(&self, bench: &mut Bench, group: GroupFd, table: GuestTableFd) -> Raw {
        bench.kernel.attach_guest_table(self.link, group, table)
    }

    pub(crate) fn put(&self, bench: &Bench, ioba: u64, tce: u64) -> HypercallAnswer {
        hypercall(&bench.machine, self.vm, HypercallRegisters::put_tce(LIOBN, ioba, tce))
    }

    pub(crate) fn put_list(
        &self,
        bench: &Bench,
        ioba: u64,
        list: u64,
        count: u64,
    ) -> HypercallAnswer {
        let call = HypercallRegisters::put_tce_indirect(LIOBN, ioba, list, count);
        hypercall(&bench.machine, self.vm, call)
    }

    pub(crate) fn stuff(
        &self,
        bench: &Bench,
        ioba: u64,
        value: u64,
        count: u64,
    ) -> HypercallAnswer {
        let call = HypercallRegisters::stuff_tce(LIOBN, ioba, value, count);
        hypercall(&bench.machine, self.vm, call)
    }
}

pub(crate) const fn table_at_zero(liobn: u64, page_shift: u32, size: u64) -> GuestTableCall {
    GuestTableCall { liobn, page_shift, offset: 0, size }
}

/// A bench whose default window a map and an unmap have made.
pub(crate) fn bench_with_window(name: &str) -> (Bench, MemoryRange) {
    let (mut bench, memory) = Bench::with_memory(name);
    assert_eq!(bench.map(0, memory), OK);
    assert_eq!(bench.unmap(0, memory.size), OK);
    (bench, memory)
}
