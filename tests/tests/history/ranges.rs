//! Ranges that end behind their window, and pages larger than what backs them.

use tce_engine::{
    Error,
    addr::{Bytes, GuestAddress, Iova, PageShift},
    error::EditRefusal,
    kernel::{GroupNumber, GuestTableCall, Kernel as _, MemoryRange, Raw},
    machine::{Backing, HypercallRegisters, Machine as _, MemoryRequest},
    region::{BackedPart, RegionRefusal, RegionRequest},
    window::ClaimRefusal,
};
use tce_sim::{Profile, SimMachine, profile::KernelVersion};

use crate::bench::{Ours, PAGE, backed, bare, machine, memory};

const M2: PageShift = PageShift::M2;

#[track_caller]
fn is_outside(told: &Error) {
    let Error::Edit(EditRefusal::Claim { refusal, .. }) = told else { panic!("{told}") };
    assert!(matches!(refusal, ClaimRefusal::Outside { .. }), "{told}");
}

/// Still open: MAP looks only at its first page, and writes behind the table.
#[test]
fn every_page_of_a_map_is_inside_the_window() {
    for name in ["powernv9", "pseries"] {
        let machine = machine(name);
        let end = machine.profile().default_window.raw();
        let last = Iova::new(end - PAGE);
        {
            let memory = memory(&machine, Bytes::mib(1));
            let mut bare = bare(&machine);
            assert_eq!(bare.register(memory), Raw::OK);
            assert_eq!(bare.map(last, memory.address, Bytes::new(PAGE)), Raw::OK);
            assert_eq!(machine.host_corruption(), None);
            let _ = bare.map(last, memory.address, Bytes::new(2 * PAGE));
            assert!(machine.host_corruption().is_some(), "{name}: one page too many");
        }

        let machine = self::machine(name);
        let mut ours = Ours::new(&machine);
        let region = ours.register(memory(&machine, Bytes::mib(1)));
        let last = ours.claim.size.raw() - PAGE;
        ours.apply(&[ours.map(last, region, 0, PAGE)]);
        is_outside(&ours.refusal(ours.map(last, region, 0, 2 * PAGE)));
        ours.close();
    }
}

/// 0b271f7d7f5e: the test of a range had the number of its pages, and did not look at it.
#[test]
fn every_page_of_an_unmap_is_inside_the_window() {
    let old = Profile::powernv9().with_kernel(KernelVersion::new(6, 12, 107));
    let machine = SimMachine::new(old.clone());
    {
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory(&machine, Bytes::mib(1))), Raw::OK);
        let last = Iova::new(machine.profile().default_window.raw() - PAGE);
        assert_eq!(bare.unmap(last, Bytes::new(PAGE)), Raw::OK);
        assert_eq!(machine.host_corruption(), None);
        assert_eq!(bare.unmap(last, Bytes::new(2 * PAGE)), Raw::OK, "it believes that it worked");
        assert!(machine.host_corruption().is_some());
    }

    let machine = SimMachine::new(old);
    let mut ours = Ours::new(&machine);
    let region = ours.register(memory(&machine, Bytes::mib(1)));
    let last = ours.claim.size.raw() - PAGE;
    ours.apply(&[ours.map(last, region, 0, PAGE)]);
    is_outside(&ours.refusal(ours.unmap(last, 2 * PAGE)));
    ours.apply(&[ours.unmap(last, PAGE)]);
    ours.close();
}

/// Memory of 6 MiB, of which huge pages back the first 4 MiB and small ones the rest.
fn mixed(machine: &SimMachine) -> MemoryRange {
    let huge = backed(machine, Bytes::mib(4), Backing::Hugetlb(M2));
    let (size, backing, align) = (Bytes::mib(2), Backing::Anonymous, PageShift::K4);
    machine.allocate_behind(&MemoryRequest { size, backing, align }).expect("there is room");
    MemoryRange { size: Bytes::mib(6), ..huge }
}

/// "KVM: PPC: Check if IOMMU page is contained in the pinned physical page" (2018): a TCE of 2 MiB over a page of 4 KiB
/// lets the device reach what lies beside that page, whoever's it is.
#[test]
fn no_tce_is_larger_than_the_page_behind_it() {
    let machine = machine("powernv9");
    {
        let memory = mixed(&machine);
        let mut bare = bare(&machine);
        assert_eq!(bare.register(memory), Raw::OK);
        assert_eq!(bare.remove_default(), Raw::OK);
        assert_eq!(bare.create(21, Bytes::gib(8), 1).out, Iova::new(0));
        assert_eq!(bare.unmap(Iova::new(0), M2.bytes()), Raw::OK);
        let (mut kernel, mut host) = (machine.kernel(), machine.clone());
        let vm = kernel.create_vm().expect("there is KVM");
        let link = kernel.create_kvm_vfio(vm).expect("it is the first");
        host.set_guest_memory(vm, GuestAddress::new(0), memory).expect("it is whole pages");
        let table = GuestTableCall { liobn: 1, page_shift: 21, offset: 0, size: 16 };
        let table = kernel.create_guest_table(vm, table).expect("it is a table");
        assert_eq!(kernel.add_group(link, bare.group()), Raw::OK);
        assert_eq!(kernel.attach_guest_table(link, bare.group(), table), Raw::OK);
        let mut put = |page: u64| {
            let call = HypercallRegisters::put_tce(1, 0, (page << 21) | 3);
            host.hypercall(vm, call).expect("it runs").code()
        };
        assert_eq!(put(1), Some(0));
        assert_eq!(machine.host_corruption(), None, "a page of 2 MiB");
        put(2);
        assert!(machine.host_corruption().is_some(), "512 pages of 4 KiB, one of them meant");
    }

    let machine = self::machine("powernv9");
    assert_eq!(machine.groups()[0], GroupNumber(0));
    let mut ours = Ours::with(&machine, M2, Bytes::gib(1));
    let memory = mixed(&machine);
    let parts = [(4, M2), (2, PageShift::K4)];
    let parts = parts.map(|(mib, page)| BackedPart { size: Bytes::mib(mib), page });
    let request = RegionRequest::mixed(memory.address, parts.into());
    let region = ours.engine.register_memory(&request).expect("it can be pinned");
    ours.apply(&[ours.map(0, region, 2 << 20, 2 << 20)]);
    for (offset, size) in [(4, 2), (2, 4)] {
        let told = ours.refusal(ours.map(0, region, offset << 20, size << 20));
        let Error::Edit(EditRefusal::Region { refusal, .. }) = &told else { panic!("{told}") };
        assert!(!matches!(refusal, RegionRefusal::Outside { .. }), "{told}");
    }
    ours.close();
}
