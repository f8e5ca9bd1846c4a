//! A device reaches the memory that the guest's TCEs say, and no other.

use tce_engine::{
    addr::GuestAddress,
    kernel::{DeviceSpace, Kernel},
    machine::Machine,
    papr::{GuestMemory, ReturnCode},
};

use super::guest::{Guest, MEMORY_END, SEAM, Setup};

const TO_DEVICE: u32 = 1;
const TO_MEMORY: u32 = 3;
const BUFFER: u64 = 0x40000;

/// Lets the guest's `edu` move bytes between a bus address and its buffer.
fn transfer(guest: &Guest, command: u32, ioba: u64, count: u64) {
    let mut kernel = guest.bench.machine.kernel();
    let device = guest.bench.device;
    let mut write = |space, at, bytes: &[u8]| {
        kernel.write_device(device, space, at, bytes).expect("the device obeys");
    };
    // Memory space and bus master.
    write(DeviceSpace::Config, 4, &[6]);
    let (source, target) = if command == TO_DEVICE { (ioba, BUFFER) } else { (BUFFER, ioba) };
    for (register, value) in [(0x80, source), (0x88, target), (0x90, count)] {
        write(DeviceSpace::Bar(0), register, &value.to_be_bytes());
    }
    write(DeviceSpace::Bar(0), 0x98, &command.to_be_bytes());
}

fn text_at(guest: &Guest, at: u64) -> [u8; 8] {
    let mut text = [0; 8];
    guest.memory.read(GuestAddress::new(at), &mut text).expect("guest memory");
    text
}

#[test]
fn bytes_travel_between_the_pages_that_the_guest_has_mapped() {
    for setup in Setup::ALL {
        let mut guest = Guest::new(setup);
        let page = guest.page_bytes();
        // The last 8 bytes of a guest's page: with small TCEs they are in the last of several.
        let (source, target, end) = (SEAM, MEMORY_END - page, page - 8);
        guest.memory.write(source + end, b"by a TCE");
        let last = guest.bus().tces().raw() - 1;
        assert_eq!(guest.put(0, source | 1), ReturnCode::Success);
        assert_eq!(guest.put_list(last, &[target | 2]), ReturnCode::Success);
        transfer(&guest, TO_DEVICE, guest.ioba(0) + end, 8);
        transfer(&guest, TO_MEMORY, guest.ioba(last) + end, 8);
        assert_eq!(&text_at(&guest, target + end), b"by a TCE");

        // After the guest has cleared its table nothing arrives any more.
        guest.memory.write(target + end, b"untouchd");
        let tces = guest.bus().tces().raw();
        assert_eq!(guest.stuff(0, tces), ReturnCode::Success);
        transfer(&guest, TO_MEMORY, guest.ioba(last) + end, 8);
        assert_eq!(&text_at(&guest, target + end), b"untouchd");
        // And nothing arrives where it may only read.
        assert_eq!(guest.put(last, target | 1), ReturnCode::Success);
        transfer(&guest, TO_MEMORY, guest.ioba(last) + end, 8);
        assert_eq!(&text_at(&guest, target + end), b"untouchd");
    }
}
