//! What a device reaches: an `edu` copies eight bytes from one bus address to another.
//!
//! Memory is marked, so that what arrives tells where it is from. A DMA that finds no TCE is dropped by the emulated
//! host bridges; a real one freezes the PE, but has no `edu`.

use tce_engine::{errno::Errno, kernel::Platform};

use super::{
    Applies, Check, Need, Script, Topic,
    groups::DETACH_CLEARS,
    script::{BLOCK, OK, fails, sees},
    steps::{
        C0, D0, D1, G1, READ, READ_WRITE, WRITE, allocate, at, create, in_block, join, leave, map,
        map_with, open, register, remove, unmap,
    },
};
use crate::step::{Backing, Place, Step};

/// Where the source is mapped, where the target, and where nothing is.
const FROM: u64 = 0;
const TO: u64 = 0x1_0000;
const HOLE: u64 = 0x8_0000;
/// The target: the second block.
const TARGET: Place = in_block(1, 0);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "device-follows-its-tces",
        topic: Topic::Dma,
        title: "A device reads and writes memory through TCEs, and follows every change of them",
        asserts: "What the device copies is what the TCEs point to: after MAP, after a MAP that \
                  replaced the target, not at all after UNMAP, and not at all after a MAP that \
                  failed there.",
        function: "pnv_tce_xchg, tce_exchange_pseries, iommu_tce_kill",
        trap: "A change that the hardware did not see would let the device write into memory \
                  that is long used otherwise.",
        engine: "Devices are quiet before a lease is unmapped (`Engine::revoke`); the lab's \
                  scenes hold the engine's table against DMA.",
        applies: Applies::ANYWHERE.with(&[Need::Edus(1)]),
        leaves: None,
        script: |_| {
            let other = in_block(1, 0x1000);
            // Its second page is no longer in the region.
            let failing = map(C0, in_block(1, BLOCK - 0x1000), TO, 0x2000);
            reachable()
                .expect(copy(0, FROM, TO, TARGET), sees(mark(0, 0)))
                .expect(map(C0, other, TO, 0x1000), OK)
                .expect(copy(0, FROM, TO, other), sees(mark(0, 0)))
                .expect(unmap(C0, TO, 0x1000), OK)
                .expect(copy(0, FROM, TO, other), sees(mark(1, 1)))
                .expect(map(C0, other, TO, 0x1000), OK)
                .expect(failing, fails(Errno::EINVAL))
                .expect(copy(0, FROM, TO, other), sees(mark(1, 1)))
        },
    },
    Check {
        name: "device-cannot-leave-its-tces",
        topic: Topic::Dma,
        title: "Where no TCE is, a device reads zeros and its writes are dropped",
        asserts: "Copied from a hole, zeros arrive; copied to a hole, nothing changes; through a \
                  TCE that allows only reading, nothing is written.",
        function: "pnv_tce_xchg, tce_exchange_pseries",
        trap: "That is the emulated host bridge; a real one freezes the PE at the first such \
                  access.",
        engine: "Quiesce before unmap (`Engine::quiesce_devices`).",
        applies: Applies::ANYWHERE.with(&[Need::Edus(1)]),
        leaves: None,
        script: |_| {
            reachable()
                .expect(copy(0, HOLE, TO, TARGET), sees(0))
                .expect(copy(0, FROM, HOLE, TARGET), sees(mark(1, 0)))
                .expect(map_with(C0, READ, TARGET, TO, 0x1000), OK)
                .expect(copy(0, FROM, TO, TARGET), sees(mark(1, 0)))
        },
    },
    Check {
        name: "device-wraps-around-behind-a-table",
        topic: Topic::Dma,
        title: "Behind the end of a table a device reaches the table's start again",
        asserts: "In a window as large as its table, an address behind the end leads where the \
                  same one without the bits above the table's leads, for reading and writing; \
                  with two levels, each has its share of the bits.",
        function: "pnv_pci_ioda2_set_window, opal_pci_map_pe_dma_window",
        trap: "That is the emulated host bridge; what a real one does there, no document open to \
                  us says. A device that is given an address behind its window's end may hit \
                  what is mapped at the start.",
        engine: "A lease's holder is told its range; no address outside it is ever handed out.",
        applies: Applies::POWERNV.with(&[Need::Edus(1)]),
        leaves: None,
        script: |facts| {
            let entries = facts.page() / 8;
            let (flat, two_levels) = (entries << 12, (entries * entries) << 12);
            let flat_window = windowed(reachable(), flat, 1)
                .expect(copy(0, flat + FROM, TO, TARGET), sees(mark(0, 0)))
                .expect(copy(0, FROM, 5 * flat + TO, TARGET), sees(mark(0, 0)))
                .expect(copy(0, flat + HOLE, TO, TARGET), sees(0));
            windowed(flat_window, two_levels, 2)
                .expect(copy(0, flat + FROM, TO, TARGET), sees(0))
                .expect(copy(0, two_levels + FROM, TO, TARGET), sees(mark(0, 0)))
        },
    },
    Check {
        name: "write-implies-read-on-powernv",
        topic: Topic::Dma,
        title: "A TCE that allows writing allows reading as well, on powernv",
        asserts: "Copied from memory that is mapped with WRITE alone, the memory's bytes arrive \
                  on powernv, and zeros in a partition.",
        function: "pnv_tce_xchg",
        trap: "Write-only memory is readable by the device.",
        engine: "Leases for writing alone say what was asked for; on powernv they cannot keep a \
                  device from reading.",
        applies: Applies::ANYWHERE.with(&[Need::Edus(1)]),
        leaves: None,
        script: |facts| {
            let seen = match facts.platform {
                Platform::Powernv => mark(0, 0),
                Platform::Pseries => 0,
            };
            reachable()
                .expect(map_with(C0, WRITE, at(0), FROM, 0x1000), OK)
                .expect(copy(0, FROM, TO, TARGET), sees(seen))
                .expect(map_with(C0, READ_WRITE, at(0), FROM, 0x1000), OK)
                .expect(copy(0, FROM, TO, TARGET), sees(mark(0, 0)))
        },
    },
    Check {
        name: "joining-device-reaches-everything",
        topic: Topic::Dma,
        title: "The device of a group that joins reaches all that was mapped before",
        asserts: "A device of the second group copies between pages that were mapped before its \
                  group joined.",
        function: "tce_iommu_attach_group, pnv_pci_ioda2_set_window",
        trap: "Whoever adds a group to a container gives its devices all memory of the others.",
        engine: "Holders that do not trust each other get a container each.",
        applies: Applies::POWERNV.with(&[Need::TwoGroups, Need::Edus(2)]),
        leaves: None,
        script: |_| {
            mapped()
                .prepare(open(G1))
                .expect(join(G1, C0), OK)
                .prepare(open(D1))
                .expect(copy(1, FROM, TO, TARGET), sees(mark(0, 0)))
        },
    },
    Check {
        name: "leaving-group-cuts-off-the-others",
        topic: Topic::Dma,
        title: "When a group leaves, the devices of the groups that stay lose their memory",
        asserts: "After the second group left, the first group's device, which copied before, \
                  copies nothing.",
        function: "tce_iommu_release_ownership, tce_iommu_clear",
        trap: "As in leaving-group-wipes-every-window, seen from the device.",
        engine: "`Engine::detach` refuses while other groups stay.",
        applies: Applies::POWERNV.on(DETACH_CLEARS).with(&[Need::TwoGroups, Need::Edus(1)]),
        leaves: None,
        script: |_| {
            reachable()
                .prepare(open(G1))
                .expect(join(G1, C0), OK)
                .expect(copy(0, FROM, TO, TARGET), sees(mark(0, 0)))
                .expect(leave(G1), OK)
                .expect(copy(0, FROM, TO, TARGET), sees(mark(1, 0)))
        },
    },
];

/// What a stage writes at the start of each 4K page of a block.
const fn mark(block: u64, page: u64) -> u64 {
    0x7ce << 52 | (block + 1) << 40 | page
}

/// Two blocks of memory, registered, of each of which a device can reach the first page.
fn mapped() -> Script {
    Script::ready()
        .prepare(allocate(Backing::Anonymous, BLOCK))
        .prepare(register(C0, at(0), BLOCK))
        .prepare(register(C0, TARGET, BLOCK))
        .prepare(map(C0, at(0), FROM, 0x1000))
        .prepare(map(C0, TARGET, TO, 0x1000))
}

/// Those two pages in a window of this size and 4K pages, instead of the one that is there.
fn windowed(script: Script, size: u64, levels: u32) -> Script {
    script
        .prepare(remove(C0, 0))
        .prepare(create(C0, 12, size, levels))
        .prepare(map(C0, at(0), FROM, 0x1000))
        .prepare(map(C0, TARGET, TO, 0x1000))
}

/// The two pages, and the first group's device open.
fn reachable() -> Script {
    mapped().prepare(open(D0))
}

/// The device copies eight bytes; then the processor looks.
const fn copy(device: u8, from: u64, to: u64, watch: Place) -> Step {
    Step::Transfer { device, from, to, bytes: 8, watch }
}
