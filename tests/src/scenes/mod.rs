//! Scenes: stories that must come out the same on the simulated kernel and on a real one.

mod dma;
mod review;

use tce_engine::{
    Engine,
    addr::PageShift,
    facts::Slot,
    kernel::Kernel as _,
    machine::{Backing, Machine, MemoryRequest},
    window::Origin,
};

pub use self::{
    dma::bytes_travel_exactly_where_they_are_mapped,
    review::{
        a_container_without_groups_has_no_backend, a_descriptor_of_another_kind_is_refused,
        a_lease_does_not_outlive_the_last_group,
    },
};
use crate::rig::{Shape, seat};

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
