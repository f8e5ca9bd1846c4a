//! The scene of the 2016 review.
//!
//! A patch wanted to let an external user hold a VFIO container. The review: the container owns nothing, its groups
//! privilege it; when the last one leaves, the backend is gone, and a reference to the container is worth nothing.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Engine, Error,
    addr::PageShift,
    error::GroupRefusal,
    facts::Slot,
    kernel::{DescriptorKind, Kernel, Raw},
    lease::{EndCause, LeaseId, LeaseRefusal, LeaseState},
    machine::{Backing, Machine},
    region::RegionRefusal,
    window::Origin,
};

use crate::rig::{NOW, Rig, Shape, make_window, seat};

const SHAPE: Shape = Shape {
    slot: Slot::Zero,
    page: PageShift::K4,
    origin: Origin::Created,
    backing: Backing::Anonymous,
};

/// A lease on a window is held; the last group leaves; the holder gets an event; the container is still open but its
/// backend is gone, and whatever is asked under the old lease is refused with that reason; a group is attached again;
/// the old lease is still refused and a new one works.
///
/// # Errors
/// What did not come out so.
pub fn a_lease_does_not_outlive_the_last_group<M: Machine>(machine: &mut M) -> Result<()> {
    let mut rig = Rig::new(machine, SHAPE)?;
    let old = rig.lease("kvm")?;
    rig.map(old)?;
    let map_again = rig.map_all(old)?;
    let generation = rig.window.generation;

    let group = rig.seat.group;
    rig.engine.detach(group)?;
    let cause = EndCause::LastGroupLeft(group);
    let events = rig.engine.take_events();
    ensure!(events.len() == 1, "one lease ended, but the events are {events:?}");
    let told = (events[0].lease, events[0].holder.name(), events[0].end());
    ensure!(told == (old, "kvm", Some(cause)), "the holder was told {told:?}");

    ensure!(rig.engine.facts().is_none(), "a container without groups has facts");
    refused_for(&mut rig, old, cause)?;
    let unregister = rig.engine.unregister(rig.region);
    ensure!(unregister == Err(Error::NoBackend), "unregister said {unregister:?}");

    rig.engine.attach(group)?;
    rig.device = rig.engine.open_device(group, &rig.seat.address)?;
    rig.window = make_window(&mut rig.engine, SHAPE)?;
    ensure!(rig.window.generation > generation, "the new window has an old generation");
    refused_for(&mut rig, old, cause)?;
    let unregister = rig.engine.unregister(rig.region);
    let gone = Err(Error::Region(RegionRefusal::Gone(rig.region)));
    ensure!(unregister == gone, "the old region's handle said {unregister:?}");

    let page = rig.engine.system().page_shift;
    rig.region = rig.engine.register(rig.memory, page)?;
    let new = rig.lease("kvm")?;
    ensure!(new != old, "a lease's name was used twice");
    rig.map(new).context("under the new lease")?;
    let again = rig.engine.apply(old, &[map_again], NOW);
    ensure!(again == ended(old, cause), "the old lease said {again:?}");
    rig.close()
}

fn ended<T>(lease: LeaseId, cause: EndCause) -> Result<T, Error> {
    Err(Error::Lease(LeaseRefusal::Ended { lease, cause }))
}

/// Every call through an ended lease is refused, says why, and makes no kernel call.
fn refused_for<M: Machine>(rig: &mut Rig<'_, M>, lease: LeaseId, cause: EndCause) -> Result<()> {
    let calls = rig.engine.calls().total();
    let applied = rig.engine.apply(lease, &[], NOW);
    ensure!(applied == ended(lease, cause), "apply said {applied:?}");
    let planned = rig.engine.plan(lease, &[], NOW);
    ensure!(planned == ended(lease, cause), "plan said {planned:?}");
    let state = rig.engine.leases().get(lease)?.state;
    ensure!(state == LeaseState::Ended(cause), "its state is {state:?}");
    rig.engine.revoke(lease).context("revoking what ended already changes nothing")?;
    ensure!(rig.engine.calls().total() == calls, "a dead lease reached the kernel");
    Ok(())
}

/// The other half: what the 2016 patch would have got a pointer for is a typed absence, and the kernel itself says the
/// same.
///
/// # Errors
/// What did not come out so.
pub fn a_container_without_groups_has_no_backend<M: Machine>(machine: &mut M) -> Result<()> {
    let mut kernel = machine.kernel();
    let container = kernel.open_container().map_err(|errno| anyhow::anyhow!("{errno}"))?;
    let info = kernel.info(container);
    ensure!(matches!(info.raw, Raw::Failed(_)), "the bare container said {:?}", info.raw);

    let mut engine = Engine::adopt(kernel, container.fd())?;
    ensure!(engine.facts().is_none() && engine.layouts().is_none(), "a bare container has facts");
    ensure!(engine.regions().is_none() && engine.windows().count() == 0, "or things");
    let layout = engine.grant_layout(&[]).map(|_| ());
    ensure!(layout == Err(Error::NoBackend), "a layout for a bare container: {layout:?}");
    let detached = engine.detach(seat(machine)?.group);
    ensure!(detached == Err(Error::NoBackend), "detaching said {detached:?}");
    engine.close()?;
    Ok(())
}

/// A descriptor that is no VFIO container is refused, and the refusal says what it is.
///
/// # Errors
/// What did not come out so.
pub fn a_descriptor_of_another_kind_is_refused<M: Machine>(machine: &mut M) -> Result<()> {
    let mut kernel = machine.kernel();
    let seat = seat(machine)?;
    let group = kernel.open_group(seat.group).map_err(|errno| anyhow::anyhow!("{errno}"))?;
    let adopted = Engine::adopt(machine.kernel(), group.fd()).map(|_| ());
    let fd = group.fd().raw();
    let refused = Err(GroupRefusal::NotAContainer { fd, found: DescriptorKind::Group }.into());
    ensure!(adopted == refused, "a group's descriptor: {adopted:?}");
    kernel.close(group.fd()).map_err(|errno| anyhow::anyhow!("{errno}"))?;
    let adopted = Engine::adopt(machine.kernel(), group.fd()).map(|_| ());
    let refused = Err(GroupRefusal::NotAContainer { fd, found: DescriptorKind::Closed }.into());
    ensure!(adopted == refused, "a closed descriptor: {adopted:?}");

    // A container that somebody uses is one, but it is not for us.
    let mut engine = Engine::open(machine.kernel())?;
    engine.attach(seat.group)?;
    let used = engine.descriptor();
    let adopted = Engine::adopt(machine.kernel(), used).map(|_| ());
    let refused = Err(GroupRefusal::ContainerInUse { fd: used.raw() }.into());
    ensure!(adopted == refused, "a used container: {adopted:?}");
    engine.close()?;
    Ok(())
}
