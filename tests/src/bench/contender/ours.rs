//! This engine: a batch for each phase, or what a guest's hypercalls become.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tce_engine::{
    Engine, LeaseRequest,
    access::Access,
    addr::Iova,
    edit::Edit,
    fault::Operation,
    kernel::{ContainerFd, Kernel},
    layout::{Need, WindowChoice},
    lease::{Holder, LeaseId},
    papr::{BusRequest, Buses, ReturnCode},
    region::RegionId,
    window::Claim,
};

use super::{
    Calls, Contender, PAGE, Place, bytes,
    guest::{Guest, LIOBN},
    iova, timed,
};
use crate::{
    bench::load::{Form, Load, Phase, Registration, Request},
    rig::NOW,
};

/// The engine with a lease of a whole window.
pub(super) struct Ours<K: Kernel> {
    engine: Engine<K>,
    place: Place,
    lease: LeaseId,
    claim: Claim,
    /// The memory, while it is registered.
    region: Option<RegionId>,
    registration: Registration,
    /// Where the requests come in lists.
    guest: Option<(Buses, Guest)>,
}

impl<K: Kernel> Ours<K> {
    pub(super) fn open(kernel: K, place: Place, load: &Load) -> Result<Self> {
        let mut engine = Engine::open(kernel)?;
        engine.attach(place.group)?;
        engine.open_device(place.group, &place.device)?;
        let size = place.window.size;
        let choice = WindowChoice {
            slot: place.window.slot,
            page: PAGE,
            size,
            fallback: None,
            levels: place.window.levels,
            needs: vec![Need { size, backing: place.backing, at: None }],
        };
        let grant = engine.grant_layout(&[choice])?;
        let window = engine.create_windows(grant)?;
        let holder = Holder::new("bench").context("a holder has a name")?;
        let window = *window.first().context("a layout of one window makes one")?;
        let grant = engine.grant_lease(LeaseRequest::new(holder, window, size))?;
        let claim = grant.claim();
        let lease = engine.lease(grant)?;
        let registration = load.registration;
        let mut ours =
            Self { engine, place, lease, claim, region: None, registration, guest: None };
        if registration == Registration::Before {
            ours.register()?;
        }
        if load.form == Form::Lists {
            ours.add_guest()?;
        }
        Ok(ours)
    }

    fn register(&mut self) -> Result<()> {
        self.region = Some(self.engine.register(self.place.memory, self.place.backing)?);
        Ok(())
    }

    fn unregister(&mut self) -> Result<()> {
        let region = self.region.take().context("the memory is registered")?;
        Ok(self.engine.unregister(region)?)
    }

    fn add_guest(&mut self) -> Result<()> {
        let region = self.region.context("a guest's memory is registered before")?;
        let mut buses = Buses::default();
        let bus = BusRequest { liobn: LIOBN, lease: self.lease, claim: self.claim, page: PAGE };
        buses.add(&self.engine, bus, NOW)?;
        self.guest = Some((buses, Guest::new(region, self.place.memory.size)));
        Ok(())
    }

    fn edit(&self, request: &Request) -> Result<Edit> {
        let start = iova(self.claim.start, request.first())?;
        let size = bytes(request.tces())?;
        Ok(match *request {
            Request::Unmap { .. } => Edit::Unmap(Claim { start, size }),
            Request::Map { page, .. } => Edit::Map {
                iova: start,
                region: self.region.context("the memory is registered")?,
                offset: bytes(page)?,
                size,
                access: Access::ReadWrite,
            },
        })
    }

    fn apply(&mut self, requests: &[Request]) -> Result<Duration> {
        let edits: Vec<Edit> = requests.iter().map(|it| self.edit(it)).collect::<Result<_>>()?;
        timed(|| {
            self.engine.apply(self.lease, &edits, NOW)?;
            Ok(())
        })
    }
}

impl<K: Kernel> Contender for Ours<K> {
    fn perform(&mut self, phase: Phase, requests: &[Request]) -> Result<Duration> {
        let (engine, start) = (&mut self.engine, self.claim.start);
        if let Some((buses, guest)) = &mut self.guest {
            let calls = guest.hypercalls(start, requests)?;
            return timed(|| {
                for call in &calls {
                    let answer = buses.serve(engine, &*guest, call, NOW)?;
                    ensure!(answer.code() == ReturnCode::Success, "{call:?}: {answer:?}");
                }
                Ok(())
            });
        }
        let mut time = Duration::ZERO;
        if (self.registration, phase) == (Registration::Counted, Phase::Map) {
            time += timed(|| self.register())?;
        }
        time += self.apply(requests)?;
        if (self.registration, phase) == (Registration::Counted, Phase::Unmap) {
            time += timed(|| self.unregister())?;
        }
        Ok(time)
    }

    fn calls(&self) -> Calls {
        let of = |operation| self.engine.calls().of(operation);
        Calls {
            memory: of(Operation::Register) + of(Operation::Unregister),
            tces: of(Operation::Map) + of(Operation::Unmap),
        }
    }

    fn window(&self) -> (ContainerFd, Iova) {
        (ContainerFd::new(self.engine.descriptor()), self.claim.start)
    }
}
