//! Scenes: stories that must come out the same on the simulated kernel and on a real one.

mod bare;
mod batches;
mod chunks;
mod deferred;
mod dma;
mod failures;
mod growing;
mod guests;
mod hypercalls;
mod parting;
mod refused;
mod replacing;
mod review;
mod windows;

use tce_engine::{
    Engine,
    addr::PageShift,
    facts::Slot,
    kernel::Kernel as _,
    machine::{Backing, Machine, MemoryRequest},
    window::Origin,
};

pub use self::{
    batches::a_batch_changes_both_windows_at_once,
    chunks::memory_registered_in_chunks_is_one_to_devices,
    deferred::what_is_unmapped_later_is_reached_until_it_is_flushed,
    dma::bytes_travel_exactly_where_they_are_mapped,
    failures::{
        a_batch_that_fails_half_way_changes_nothing,
        memory_in_too_small_pages_in_the_middle_changes_nothing,
        what_cannot_be_put_back_is_quarantined,
    },
    growing::a_lease_grows_under_a_running_device,
    guests::{
        a_device_is_quiet_when_its_interrupts_are_off, a_guest_sets_tces_without_its_process,
    },
    hypercalls::a_guests_list_is_done_wholly_or_not_at_all,
    parting::a_group_leaves_and_nothing_is_lost,
    refused::{
        every_group_that_is_refused_has_its_reason, every_loan_that_is_refused_has_its_reason,
    },
    replacing::what_is_replaced_under_a_transfer_loses_nothing,
    review::{
        a_container_without_groups_has_no_backend, a_descriptor_of_another_kind_is_refused,
        a_lease_does_not_outlive_the_last_group,
    },
    windows::windows_come_and_go_by_choice,
};
use crate::{
    rig::{Shape, seat},
    stage::Stage,
};

/// A scene on a stage, which need not be a fresh one.
pub type Story<M> = fn(&mut Stage<'_, M>) -> anyhow::Result<()>;

/// The scenes that play on a stage, by name, in the order in which they can play on one: opening a device and closing
/// it costs a real kernel seconds. The last one does away with the default window.
#[must_use]
pub fn stories<M: Machine>() -> [(&'static str, Story<M>); 10] {
    [
        ("a batch changes both windows at once", a_batch_changes_both_windows_at_once),
        (
            "a batch that fails half-way changes nothing",
            a_batch_that_fails_half_way_changes_nothing,
        ),
        (
            "memory in too small pages in the middle of a batch changes nothing",
            memory_in_too_small_pages_in_the_middle_changes_nothing,
        ),
        ("what cannot be put back is quarantined", what_cannot_be_put_back_is_quarantined),
        (
            "what is replaced under a transfer loses nothing",
            what_is_replaced_under_a_transfer_loses_nothing,
        ),
        (
            "what is unmapped later is reached until it is flushed",
            what_is_unmapped_later_is_reached_until_it_is_flushed,
        ),
        (
            "memory registered in chunks is one to devices",
            memory_registered_in_chunks_is_one_to_devices,
        ),
        ("a guest's list is done wholly or not at all", a_guests_list_is_done_wholly_or_not_at_all),
        ("a lease grows under a running device", a_lease_grows_under_a_running_device),
        ("windows come and go by choice", windows_come_and_go_by_choice),
    ]
}

/// The windows that a machine can have its DMA through: each slot, each page that its memory can back.
///
/// # Errors
/// If the first `edu` cannot be attached.
pub fn shapes<M: Machine>(machine: &mut M) -> anyhow::Result<Vec<Shape>> {
    let seat = seat(machine)?;
    let mut engine = Engine::open(machine.kernel())?;
    engine.attach(seat.group)?;
    let offered = engine.facts().map(|facts| facts.page_shifts.clone()).unwrap_or_default();
    engine.close()?;
    let system_page = machine.kernel().system().page_shift;
    let small = offered.iter().copied().filter(|page| *page <= system_page);
    let mut shapes = vec![Shape {
        slot: Slot::Zero,
        page: PageShift::K4,
        origin: Origin::DefaultWindow,
        backing: Backing::Anonymous,
    }];
    for page in small {
        for (slot, backing) in [(Slot::Zero, Backing::Memfd), (Slot::One, Backing::Anonymous)] {
            shapes.push(Shape { slot, page, origin: Origin::Created, backing });
        }
    }
    if offered.contains(&PageShift::M2) && has_huge_pages(machine, PageShift::M2) {
        let backing = Backing::Hugetlb(PageShift::M2);
        for slot in Slot::ALL {
            shapes.push(Shape { slot, page: PageShift::M2, origin: Origin::Created, backing });
        }
    }
    Ok(shapes)
}

fn has_huge_pages<M: Machine>(machine: &mut M, page: PageShift) -> bool {
    let size = tce_engine::addr::Bytes::new(page.bytes().raw() * 4);
    let request = MemoryRequest { size, backing: Backing::Hugetlb(page), align: page };
    match machine.allocate(&request) {
        Ok(memory) => machine.free(memory).is_ok(),
        Err(_) => false,
    }
}
