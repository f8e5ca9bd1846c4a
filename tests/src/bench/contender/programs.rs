//! The bare calls, and other programs as [`crate::peers`] has them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    kernel::{ContainerFd, Kernel, Raw},
    papr::LIST_TCES_MAX,
};

use super::{Calls, Contender, PAGE, Place, Who, address, bytes, iova, timed};
use crate::{
    bench::{
        load::{Form, Load, Phase, Registration, Request},
        minimal::minimal,
    },
    peers::{Bare, Dpdk, Qemu, VirtioIommu},
};

enum Code<K: Kernel> {
    Bare(Bare<K>),
    Qemu(Qemu<K>),
    Dpdk(Dpdk<K>),
    VirtioIommu(VirtioIommu<K>),
}

/// A program with a window.
pub(super) struct Program<K: Kernel> {
    code: Code<K>,
    place: Place,
    load: Load,
    start: Iova,
}

/// A piece of work in the words of a call.
#[derive(Clone, Copy)]
struct Piece {
    iova: Iova,
    /// Absent to unmap.
    address: Option<HostAddr>,
    size: Bytes,
    tces: u64,
}

impl<K: Kernel> Program<K> {
    pub(super) fn open(who: Who, kernel: K, place: Place, load: &Load) -> Result<Self> {
        let mut bare = Bare::open(kernel, place.group)?;
        let page = u32::from(PAGE.raw());
        let made = bare.create(page, place.window.size, place.window.levels.into());
        ensure!(made.raw == Raw::OK, "TCE_CREATE: {:?}", made.raw);
        if load.registration == Registration::Before {
            done(bare.register(place.memory), "REGISTER_MEMORY")?;
        }
        let code = match who {
            Who::Bare | Who::Ours => Code::Bare(bare),
            Who::Qemu => Code::Qemu(Qemu::new(bare, PAGE)),
            Who::Dpdk => Code::Dpdk(Dpdk::new(bare, PageShift::M2)),
            Who::VirtioIommu => Code::VirtioIommu(VirtioIommu::new(bare)),
        };
        Ok(Self { code, place, load: *load, start: made.out })
    }

    const fn bare(&self) -> &Bare<K> {
        match &self.code {
            Code::Bare(bare) => bare,
            Code::Qemu(qemu) => &qemu.bare,
            Code::Dpdk(dpdk) => &dpdk.bare,
            Code::VirtioIommu(virtio) => &virtio.bare,
        }
    }

    const fn bare_mut(&mut self) -> &mut Bare<K> {
        match &mut self.code {
            Code::Bare(bare) => bare,
            Code::Qemu(qemu) => &mut qemu.bare,
            Code::Dpdk(dpdk) => &mut dpdk.bare,
            Code::VirtioIommu(virtio) => &mut virtio.bare,
        }
    }

    fn piece(&self, request: &Request) -> Result<Piece> {
        let address = match *request {
            Request::Map { page, .. } => Some(address(self.place.memory, page)?),
            Request::Unmap { .. } => None,
        };
        let iova = iova(self.start, request.first())?;
        Ok(Piece { iova, address, size: bytes(request.tces())?, tces: request.tces() })
    }

    /// Registers or unregisters where that is part of the work and the program does not do it piece by piece.
    fn memory(&mut self, phase: Phase) -> Result<Duration> {
        let memory = self.place.memory;
        if self.load.registration == Registration::Before || matches!(self.code, Code::Dpdk(_)) {
            return Ok(Duration::ZERO);
        }
        let bare = self.bare_mut();
        match phase {
            Phase::Map => timed(|| done(bare.register(memory), "REGISTER_MEMORY")),
            Phase::Replace => Ok(Duration::ZERO),
            Phase::Unmap => timed(|| done(bare.unregister(memory), "UNREGISTER_MEMORY")),
        }
    }

    fn work(&mut self, phase: Phase, requests: &[Request]) -> Result<Duration> {
        let pieces = |requests: &[Request]| -> Result<Vec<Piece>> {
            requests.iter().map(|request| self.piece(request)).collect()
        };
        let form = self.load.form;
        let pieces = match &self.code {
            Code::Bare(_) => pieces(&minimal(&self.load, requests))?,
            Code::Qemu(_) => pieces(&single(requests))?,
            Code::Dpdk(_) | Code::VirtioIommu(_) => pieces(requests)?,
        };
        match &mut self.code {
            Code::Bare(bare) => timed(|| pieces.iter().try_for_each(|piece| make(bare, piece))),
            Code::Qemu(qemu) => guest_asks(qemu, form, &pieces),
            Code::Dpdk(dpdk) => timed(|| {
                let mapped = |piece: &Piece| {
                    piece.address.is_some_and(|address| dpdk.map(piece.iova, address))
                };
                ensure!(pieces.iter().all(mapped), "DPDK noticed a failure");
                Ok(())
            }),
            Code::VirtioIommu(virtio) => timed(|| {
                let served = |piece: &Piece| driver_asks(virtio, phase, piece);
                ensure!(pieces.iter().all(served), "virtio-iommu noticed a failure");
                Ok(())
            }),
        }
    }
}

impl<K: Kernel> Contender for Program<K> {
    fn perform(&mut self, phase: Phase, requests: &[Request]) -> Result<Duration> {
        let before = if phase == Phase::Map { self.memory(phase)? } else { Duration::ZERO };
        let work = self.work(phase, requests)?;
        let after = if phase == Phase::Unmap { self.memory(phase)? } else { Duration::ZERO };
        Ok(before + work + after)
    }

    fn calls(&self) -> Calls {
        let bare = self.bare();
        Calls { memory: bare.registrations, tces: bare.calls }
    }

    fn window(&self) -> (ContainerFd, Iova) {
        (self.bare().container(), self.start)
    }
}

fn done(raw: Raw, what: &str) -> Result<()> {
    ensure!(raw == Raw::OK, "{what}: {raw:?}");
    Ok(())
}

fn make<K: Kernel>(bare: &mut Bare<K>, piece: &Piece) -> Result<()> {
    match piece.address {
        Some(address) => done(bare.map(piece.iova, address, piece.size), "MAP_DMA"),
        None => done(bare.unmap(piece.iova, piece.size), "UNMAP_DMA"),
    }
}

/// Maps TCE by TCE, as QEMU knows them; unmaps stay as they are.
fn single(requests: &[Request]) -> Vec<Request> {
    let each = |request: &Request| match *request {
        Request::Map { first, tces, page } => (0..tces)
            .map(|at| Request::Map { first: first + at, tces: 1, page: page + at })
            .collect(),
        Request::Unmap { .. } => vec![*request],
    };
    requests.iter().flat_map(each).collect()
}

/// The guest's hypercalls.
fn guest_asks<K: Kernel>(qemu: &mut Qemu<K>, form: Form, pieces: &[Piece]) -> Result<Duration> {
    let addresses: Vec<HostAddr> = pieces.iter().filter_map(|piece| piece.address).collect();
    let is_unmap = addresses.is_empty();
    if form == Form::Together || is_unmap {
        return timed(|| {
            pieces.iter().for_each(|piece| match piece.address {
                Some(address) => qemu.put(piece.iova, address),
                None => qemu.clear(piece.iova, piece.tces),
            });
            Ok(())
        });
    }
    let longest = usize::try_from(LIST_TCES_MAX)?;
    let lists = pieces.chunks(longest).zip(addresses.chunks(longest));
    let lists: Vec<(Iova, &[HostAddr])> = lists
        .map(|(pieces, list)| Ok((pieces.first().context("a list has entries")?.iova, list)))
        .collect::<Result<_>>()?;
    timed(|| {
        lists.iter().for_each(|(iova, list)| qemu.put_list(*iova, list));
        Ok(())
    })
}

/// The driver's requests: it unmaps before it maps anew, since a map over a mapping is refused.
fn driver_asks<K: Kernel>(virtio: &mut VirtioIommu<K>, phase: Phase, piece: &Piece) -> bool {
    let Piece { iova, address, size, .. } = *piece;
    let is_out = phase == Phase::Map || virtio.unmap(iova, size);
    is_out && address.is_none_or(|address| virtio.map(iova, address, size))
}
