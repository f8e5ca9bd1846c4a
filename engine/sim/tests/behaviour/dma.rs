//! An `edu` moves bytes through TCEs, and cannot where there is none.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
    kernel::{DeviceFd, DeviceSpace, EehOperation, Kernel, MemoryRange, Raw},
    machine::{Backing, Machine},
};
use tce_sim::{
    PeState, Profile,
    profile::{BehindTable, Eeh, MmioHole},
};

use crate::bench::{Bench, HIGH, OK, part};

const BAR: DeviceSpace = DeviceSpace::Bar(0);
pub(crate) const TO_DEVICE: u32 = 1;
pub(crate) const TO_MEMORY: u32 = 3;

/// A bench with its `edu` open, memory space and bus mastering on.
pub(crate) struct Lab {
    pub(crate) bench: Bench,
    device: DeviceFd,
}

impl Lab {
    fn new(profile: Profile) -> Self {
        Self::on(Bench::new(profile))
    }

    pub(crate) fn on(mut bench: Bench) -> Self {
        let address = bench.machine.profile().groups[0].devices[0].address.clone();
        let device = bench.kernel.open_device(bench.group, &address).expect("it is there");
        let mut lab = Self { bench, device };
        lab.command(6);
        lab
    }

    fn command(&mut self, value: u8) {
        let written = self.bench.kernel.write_device(self.device, DeviceSpace::Config, 4, &[value]);
        assert_eq!(written, Ok(()));
    }

    fn write8(&mut self, register: u64, value: u64) {
        let bytes = value.to_be_bytes();
        assert_eq!(self.bench.kernel.write_device(self.device, BAR, register, &bytes), Ok(()));
    }

    pub(crate) fn transfer(&mut self, command: u32, iova: u64, count: u64) {
        let (source, destination) =
            if command == TO_DEVICE { (iova, 0x40000) } else { (0x40000, iova) };
        self.write8(0x80, source);
        self.write8(0x88, destination);
        self.write8(0x90, count);
        let start = command.to_be_bytes();
        assert_eq!(self.bench.kernel.write_device(self.device, BAR, 0x98, &start), Ok(()));
        let mut left = [0xff; 4];
        assert_eq!(self.bench.kernel.read_device(self.device, BAR, 0x98, &mut left), Ok(()));
        assert_eq!(left[3] & 1, 0, "it is over at once");
    }

    /// Sends `text` from memory at one bus address to memory at another; true if it arrived.
    fn travels(&mut self, memory: MemoryRange, from: u64, to: u64, text: &[u8]) -> bool {
        let target = part(memory, 0x8000, 0).address;
        let machine = &mut self.bench.machine;
        machine.write_memory(memory.address, text).expect("it is ours");
        machine.write_memory(target, &vec![0; text.len()]).expect("it is ours");
        let count = u64::try_from(text.len()).expect("it is short");
        self.transfer(TO_DEVICE, from, count);
        self.transfer(TO_MEMORY, to, count);
        let mut arrived = vec![0; text.len()];
        self.bench.machine.read_memory(target, &mut arrived).expect("it is ours");
        arrived == text
    }
}

#[test]
fn bytes_travel_where_a_tce_is_and_not_where_none_is() {
    for (name, backing, page) in [
        ("powernv9", Backing::Anonymous, 12),
        ("powernv9-64k", Backing::Memfd, 16),
        ("pseries", Backing::Hugetlb(PageShift::M2), 21),
        ("powernv10", Backing::Hugetlb(PageShift::G1), 30),
    ] {
        let profile = Profile::named(name).expect("it is known");
        let mut lab = Lab::new(profile.clone());
        let size = if page == 30 { Bytes::gib(1) } else { Bytes::mib(4) };
        let memory = lab.bench.registered(size, backing);
        // pseries has no 1G pages, powernv10 has.
        let start = if page == 12 {
            0x10_0000
        } else {
            assert_eq!(lab.bench.create(Bytes::gib(16), page, 1).raw, OK);
            HIGH + (2 << 30)
        };
        let (from, to) = (start, start + 0x8000);
        assert!(!lab.travels(memory, from, to, b"before"), "{name}");
        assert_eq!(lab.bench.map(start, memory), OK);
        assert!(lab.travels(memory, from, to, b"mapped"), "{name}");
        assert_eq!(lab.bench.unmap(start, memory.size), OK);
        assert!(!lab.travels(memory, from, to, b"unmapped"), "{name}");
        assert_eq!(lab.bench.map(start, memory), OK);
        assert!(lab.travels(memory, from, to, b"again"), "{name}");
        assert_eq!(lab.bench.machine.host_corruption(), None);
    }
}

#[test]
fn a_transfer_crosses_pages_that_are_apart_in_memory() {
    let mut lab = Lab::new(Profile::powernv9());
    let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(lab.bench.map(0, part(memory, 0x5000, 0x1000)), OK);
    assert_eq!(lab.bench.map(0x1000, part(memory, 0x2000, 0x1000)), OK);
    let machine = &mut lab.bench.machine;
    machine.write_memory(part(memory, 0x5ffc, 0).address, b"left").expect("it is ours");
    machine.write_memory(part(memory, 0x2000, 0).address, b"right").expect("it is ours");
    lab.transfer(TO_DEVICE, 0xffc, 9);
    lab.transfer(TO_MEMORY, 0x1800, 9);
    let mut bytes = [0; 9];
    lab.bench.machine.read_memory(part(memory, 0x2800, 0).address, &mut bytes).expect("ours");
    assert_eq!(&bytes, b"leftright");
}

#[test]
fn permissions_are_kept() {
    let mut lab = Lab::new(Profile::powernv9());
    let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(lab.bench.map_flags(1, 0, memory), OK);
    assert!(!lab.travels(memory, 0, 0x8000, b"read only"));
    assert_eq!(lab.bench.map_flags(2, 0, memory), OK);
    assert!(lab.travels(memory, 0, 0x8000, b"write implies read here"));
    let mut lab = Lab::new(Profile::pseries());
    let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(lab.bench.map_flags(2, 0, memory), OK);
    assert!(!lab.travels(memory, 0, 0x8000, b"and does not here"));
}

#[test]
fn nothing_moves_without_bus_mastering() {
    let mut lab = Lab::new(Profile::powernv9());
    let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(lab.bench.map(0, memory), OK);
    lab.command(2);
    assert!(!lab.travels(memory, 0, 0x8000, b"quiet"));
    lab.command(6);
    assert!(lab.travels(memory, 0, 0x8000, b"loud"));
}

#[test]
fn registers_do_not_answer_without_memory_space() {
    let mut lab = Lab::new(Profile::powernv9());
    lab.command(4);
    let read = lab.bench.kernel.read_device(lab.device, BAR, 0, &mut [0; 4]);
    assert_eq!(read, Err(Errno::EIO));
    lab.command(6);
    let mut id = [0; 4];
    lab.bench.kernel.read_device(lab.device, BAR, 0, &mut id).expect("they answer");
    assert_eq!(u32::from_le_bytes(id), 0xed00_0001);
    let beyond = lab.bench.kernel.read_device(lab.device, BAR, 1 << 20, &mut [0; 4]);
    assert_eq!(beyond, Err(Errno::EINVAL));
    let other = lab.bench.kernel.read_device(lab.device, DeviceSpace::Bar(2), 0, &mut [0; 4]);
    assert_eq!(other, Err(Errno::EINVAL));
}

#[test]
fn a_reopened_device_is_quiet() {
    let mut lab = Lab::new(Profile::powernv9());
    lab.bench.kernel.close(lab.device.fd()).expect("it is open");
    lab.device = lab.bench.kernel.open_device(lab.bench.group, "0000:01:00.0").expect("there");
    let mut command = [0; 2];
    let read = lab.bench.kernel.read_device(lab.device, DeviceSpace::Config, 4, &mut command);
    assert_eq!((read, command[0] & 4), (Ok(()), 0));
}

#[test]
fn every_group_of_a_container_reaches_its_windows() {
    let mut lab = Lab::new(Profile::powernv9());
    let (second, joined) = lab.bench.join(lab.bench.second_group());
    assert_eq!(joined, OK);
    let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(lab.bench.map(0, memory), OK);
    lab.device = lab.bench.kernel.open_device(second, "0001:01:00.0").expect("it is there");
    lab.command(6);
    assert!(lab.travels(memory, 0, 0x8000, b"through the other group"));
}

#[test]
fn the_mmio_hole_lets_through_or_swallows_as_the_profile_says() {
    for (hole, arrives) in [(MmioHole::Translated, true), (MmioHole::Swallowed, false)] {
        let mut lab = Lab::new(Profile { mmio_hole: hole, ..Profile::powernv9() });
        let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
        assert_eq!(lab.bench.remove(0), OK);
        assert_eq!(lab.bench.create(Bytes::gib(8), 12, 1).out.raw(), 0);
        assert_eq!(lab.bench.map(0xc000_0000, memory), OK);
        assert_eq!(lab.travels(memory, 0xc000_0000, 0xc000_8000, b"hole"), arrives);
        assert_eq!(lab.bench.map(1 << 32, memory), OK);
        assert!(lab.travels(memory, 1 << 32, (1 << 32) + 0x8000, b"above"));
    }
}

#[test]
fn behind_the_end_of_a_table_the_emulated_bridge_starts_again_at_its_beginning() {
    // One level for 2^19 TCEs, two of 2^10 each for as many, and a window that fills no page of TCEs.
    for (window, levels, table) in [(31, 1, 31), (31, 2, 32), (17, 1, 21)] {
        for (behind, arrives) in [(BehindTable::WrapsAround, true), (BehindTable::Nowhere, false)] {
            let mut lab = Lab::new(Profile { behind_table: behind, ..Profile::powernv9() });
            let memory = lab.bench.registered(Bytes::kib(64), Backing::Anonymous);
            assert_eq!(lab.bench.remove(0), OK);
            assert_eq!(lab.bench.create(Bytes::new(1 << window), 12, levels).out.raw(), 0);
            assert_eq!(lab.bench.map(0, memory), OK);
            assert_eq!(lab.travels(memory, 1 << table, 0x8000, b"around"), arrives);
            let (other_slot, no_dma) = (1 << 59, 1 << 60);
            assert!(!lab.travels(memory, other_slot, 0x8000, b"the other window's"));
            assert!(!lab.travels(memory, no_dma, 0x8000, b"no DMA"));
            assert!(!lab.travels(memory, 1 << (table - 1), 0x8000, b"no TCE"));
        }
    }
}

#[test]
fn a_missing_tce_freezes_the_pe_where_the_profile_says_so() {
    let mut lab = Lab::new(Profile::powernv9().with_freezing_pe());
    let number = lab.bench.machine.groups()[0];
    let container = lab.bench.container;
    let memory = lab.bench.registered(Bytes::mib(1), Backing::Anonymous);
    assert_eq!(lab.bench.map(0, memory), OK);
    let state = |lab: &mut Lab| lab.bench.kernel.eeh(container, EehOperation::GetState);
    assert_eq!(state(&mut lab), Raw::Returned(0));
    lab.write8(0x80, 1 << 30);
    lab.write8(0x88, 0x40000);
    lab.write8(0x90, 4);
    lab.write8(0x98, 1);
    assert_eq!(lab.bench.machine.pe_state(number), Some(PeState::Stopped));
    assert_eq!(state(&mut lab), Raw::Returned(2));
    let mut id = [0; 4];
    lab.bench.kernel.read_device(lab.device, BAR, 0, &mut id).expect("frozen reads succeed");
    assert_eq!(id, [0xff; 4]);
    for operation in [EehOperation::UnfreezeIo, EehOperation::UnfreezeDma] {
        assert_eq!(lab.bench.kernel.eeh(container, operation), OK);
    }
    assert_eq!(state(&mut lab), Raw::Returned(0));
    assert!(lab.travels(memory, 0, 0x8000, b"thawed"));
}

#[test]
fn several_groups_show_the_first_state_that_is_not_normal() {
    let mut bench = Bench::named("powernv9");
    assert_eq!(bench.machine.profile().eeh, Eeh::Enabled);
    let (_, joined) = bench.join(bench.second_group());
    assert_eq!(joined, OK);
    bench.machine.freeze(bench.machine.groups()[0]);
    let state = bench.kernel.eeh(bench.container, EehOperation::GetState);
    assert_eq!(state, Raw::Returned(2));
    let fundamental = bench.kernel.eeh(bench.container, EehOperation::ResetFundamental);
    assert_eq!(fundamental, Raw::Failed(Errno::EIO));
    assert_eq!(bench.kernel.eeh(bench.container, EehOperation::ResetHot), OK);
    assert_eq!(bench.kernel.eeh(bench.container, EehOperation::ResetDeactivate), OK);
    let state = bench.kernel.eeh(bench.container, EehOperation::GetState);
    assert_eq!(state, Raw::Returned(0));
}

#[test]
fn narrow_register_accesses_are_a_machine_check() {
    let mut lab = Lab::new(Profile::powernv9());
    lab.bench.kernel.read_device(lab.device, DeviceSpace::Config, 4, &mut [0; 2]).expect("config");
    assert_eq!(lab.bench.machine.host_corruption(), None);
    lab.bench.kernel.read_device(lab.device, BAR, 0, &mut [0; 2]).expect("it would not return");
    assert!(lab.bench.machine.host_corruption().is_some());
}
