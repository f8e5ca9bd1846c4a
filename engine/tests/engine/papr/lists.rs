//! Lists: read once, all or nothing.

use std::collections::BTreeMap;

use tce_engine::{
    access::Access,
    addr::{Bytes, GuestAddress},
    errno::Errno,
    papr::{GuestMemory, HypercallRefusal, NotGuestMemory, Placement, ReturnCode},
    region::RegionId,
};
use tce_sim::{Fault, Operation};

use super::guest::{Guest, SEAM, Setup, list_bytes};

/// What the hardware must have if TCEs from 0 on map these pages.
fn pages(guest: &Guest, pages: &[u64]) -> BTreeMap<u64, (GuestAddress, Access)> {
    let address = |page: &u64| GuestAddress::new(page * guest.page_bytes());
    (0..).zip(pages.iter().map(|page| (address(page), Access::ReadWrite))).collect()
}

#[test]
fn a_list_that_the_guest_changes_under_our_eyes_counts_as_it_was_read() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let evil = list_bytes(&[1 << 60 | 3, 3 << 40 | 3, 0x7]);
        guest.memory.written_after_read = Some(evil.clone());
        let tces = [5, 9, 6].map(|page| guest.tce(page));
        assert_eq!(guest.put_list(0, &tces), ReturnCode::Success);
        guest.assert_hardware(&pages(&guest, &[5, 9, 6]));
        assert_eq!(guest.memory.reads.get(), 1);
        let mut there = vec![0; evil.len()];
        let list = GuestAddress::new(super::guest::LIST);
        guest.memory.read(list, &mut there).expect("guest memory");
        assert_eq!(there, evil, "the guest has changed it");
    }
}

#[test]
fn a_list_that_is_made_right_after_it_was_read_stays_wrong() {
    let mut guest = Guest::new(Setup::ALL[0]);
    let right = [guest.tce(1), guest.tce(2)];
    guest.memory.written_after_read = Some(list_bytes(&right));
    assert_eq!(guest.put_list(0, &[right[0], 1 << 60 | 3]), ReturnCode::Parameter);
    assert_eq!(guest.memory.reads.get(), 1);
    guest.assert_hardware(&BTreeMap::new());
}

#[test]
fn one_wrong_entry_keeps_the_whole_list_from_the_hardware() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let before = [guest.tce(7), guest.tce(3)];
        assert_eq!(guest.put_list(0, &before), ReturnCode::Success);
        let good: Vec<u64> = (0..40).map(|page| guest.tce(page)).collect();
        for wrong in [0, 1, 17, 39] {
            for tce in [1 << 60 | 3, 0x801] {
                let mut tces = good.clone();
                tces[wrong] = tce;
                let written = guest.bench.machine.tces_set();
                let (code, calls) = guest.calls_of(|guest| guest.put_list(0, &tces));
                assert_eq!((code, calls), (ReturnCode::Parameter, (0, 0)));
                assert_eq!(guest.bench.machine.tces_set(), written);
            }
        }
        guest.assert_hardware(&pages(&guest, &[7, 3]));
    }
}

#[test]
fn a_list_that_the_kernel_fails_at_any_call_leaves_all_as_it_was() {
    for setup in Setup::ALL {
        for nth in 1..=4 {
            let mut guest = Guest::new(setup);
            let before = [4, 2, 8, 1].map(|page| guest.tce(page));
            assert_eq!(guest.put_list(0, &before), ReturnCode::Success);
            let fault = Fault::Errno(Errno::ENOMEM);
            guest.bench.machine.fail_nth(Operation::Map, nth, fault);
            let after = [9, 11, 13, 15].map(|page| guest.tce(page));
            assert_eq!(guest.put_list(0, &after), ReturnCode::Hardware);
            guest.assert_hardware(&pages(&guest, &[4, 2, 8, 1]));
            assert_eq!(guest.put_list(0, &after), ReturnCode::Success);
            guest.assert_hardware(&pages(&guest, &[9, 11, 13, 15]));
        }
    }
}

#[test]
fn pages_that_follow_each_other_only_for_the_guest_are_mapped_where_they_are() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let seam = SEAM / guest.page_bytes();
        let around: Vec<u64> = (seam - 3..seam + 3).collect();
        let tces: Vec<u64> = around.iter().map(|page| guest.tce(*page)).collect();
        let (code, calls) = guest.calls_of(|guest| guest.put_list(0, &tces));
        assert_eq!((code, calls), (ReturnCode::Success, (2, 0)));
        guest.assert_hardware(&pages(&guest, &around));
    }
}

/// Memory that is scattered as widely as it can be.
struct Crumbs(RegionId, Bytes);

impl GuestMemory for Crumbs {
    fn locate(&self, at: GuestAddress, _: Bytes) -> Result<Placement, NotGuestMemory> {
        Ok(Placement { region: self.0, offset: Bytes::new(at.raw()), size: self.1 })
    }

    fn read(&self, _: GuestAddress, into: &mut [u8]) -> Result<(), NotGuestMemory> {
        let tces: Vec<u64> = (0..512).map(|page| page << 16 | 3).collect();
        into.copy_from_slice(&list_bytes(&tces));
        Ok(())
    }

    fn guest_address(&self, _: RegionId, _: Bytes) -> Option<GuestAddress> {
        None
    }
}

#[test]
fn memory_that_is_scattered_without_end_is_refused() {
    let guest = Guest::new(Setup::ALL[1]);
    let call = guest.list_call(0, &[0; 512]);
    let region = guest.memory.slices[0].region;
    let crumbs = Crumbs(region, Bytes::new(1));
    let refusal = guest.buses.translate(&call, &crumbs);
    assert_eq!(refusal, Err(HypercallRefusal::TooScattered));
    let nothing = Crumbs(region, Bytes::ZERO);
    let refusal = guest.buses.translate(&call, &nothing);
    let cause = NotGuestMemory(GuestAddress::new(0));
    assert_eq!(refusal, Err(HypercallRefusal::NoMemory { number: 0, cause }));
}
