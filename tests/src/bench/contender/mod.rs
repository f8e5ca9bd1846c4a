//! Who does the work: this engine, the bare calls, and other programs.

mod guest;
mod ours;
mod programs;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tce_engine::{
    Engine,
    addr::{Bytes, HostAddr, Iova, PageShift, Pages},
    facts::Slot,
    kernel::{ContainerFd, GroupNumber, Kernel, MemoryRange},
    layout::{Candidate, CandidateQuery},
    window::Origin,
};

use super::load::{Form, Load, Phase, Registration, Request};

/// The page of all windows.
pub const PAGE: PageShift = PageShift::K4;

/// Calls that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// `REGISTER_MEMORY` and `UNREGISTER_MEMORY`.
    pub memory: u64,
    /// `MAP_DMA` and `UNMAP_DMA`.
    pub tces: u64,
}

/// Somebody at work, in a window of its own.
pub trait Contender {
    /// Does what the requests ask for, and says how long it took. What a caller would have at hand is made before.
    ///
    /// # Errors
    /// Whatever the kernel refuses, as far as the contender notices.
    fn perform(&mut self, phase: Phase, requests: &[Request]) -> Result<Duration>;

    /// The calls it has made.
    fn calls(&self) -> Calls;

    /// Its container, and where its window starts.
    fn window(&self) -> (ContainerFd, Iova);
}

/// Who there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The fewest calls that do it, made one after the other: nobody decides anything.
    Bare,
    /// This engine.
    Ours,
    /// QEMU: one call for each TCE.
    Qemu,
    /// DPDK: registers and maps huge page by huge page.
    Dpdk,
    /// A virtio-iommu with an ordered map: one call for each request, two to replace.
    VirtioIommu,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bare, Self::Ours, Self::Qemu, Self::Dpdk, Self::VirtioIommu];

    /// As the report calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare calls",
            Self::Ours => "tce",
            Self::Qemu => "QEMU-like",
            Self::Dpdk => "DPDK-like",
            Self::VirtioIommu => "virtio-iommu",
        }
    }

    /// The calls it has to make in a phase, exactly; `None` if it cannot do that at all.
    ///
    /// DPDK knows huge pages alone, and to unmap it clears everything below the page it means. A virtio-iommu has no
    /// lists of TCEs.
    #[must_use]
    pub fn expected(self, load: &Load, phase: Phase, tces: u64) -> Option<Calls> {
        let is_counted = load.registration == Registration::Counted;
        let memory = u64::from(is_counted && phase != Phase::Replace);
        let requests = || load.requests(phase, tces).len();
        let requests = || u64::try_from(requests()).ok();
        match self {
            Self::Bare | Self::Ours => Some(Calls { memory, tces: load.minimal(tces).of(phase) }),
            Self::Qemu => Some(Calls { memory, tces: load.tces(tces).of(phase) }),
            Self::Dpdk if !load.is_of_huge_pages() || phase != Phase::Map => None,
            Self::Dpdk => requests().map(|count| Calls { memory: count, tces: count }),
            Self::VirtioIommu if load.form == Form::Lists => None,
            Self::VirtioIommu => {
                let calls_each = if phase == Phase::Replace { 2 } else { 1 };
                requests().map(|count| Calls { memory, tces: calls_each * count })
            }
        }
    }

    /// Sets it up on its place.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn open<K: Kernel + 'static>(
        self,
        kernel: K,
        place: Place,
        load: &Load,
    ) -> Result<Box<dyn Contender>> {
        Ok(match self {
            Self::Ours => Box::new(ours::Ours::open(kernel, place, load)?),
            Self::Bare | Self::Qemu | Self::Dpdk | Self::VirtioIommu => {
                Box::new(programs::Program::open(self, kernel, place, load)?)
            }
        })
    }
}

/// What every contender gets: the same group, the same memory, a window of the same shape.
#[derive(Clone, Debug)]
pub struct Place {
    /// The group.
    pub group: GroupNumber,
    /// One of its devices.
    pub device: String,
    /// The memory.
    pub memory: MemoryRange,
    /// The system page, which backs it.
    pub backing: PageShift,
    /// The window's shape.
    pub window: Shape,
}

/// The shape of a window.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its slot.
    pub slot: Slot,
    /// Its size.
    pub size: Bytes,
    /// The levels of its table.
    pub levels: u8,
}

impl Shape {
    /// A window of its own for so many TCEs, with as few levels as possible, where no reserved range is in the way.
    ///
    /// # Errors
    /// If the machine makes none.
    pub fn find<K: Kernel>(kernel: K, group: GroupNumber, tces: u64) -> Result<Self> {
        let mut engine = Engine::open(kernel)?;
        engine.attach(group)?;
        let size = Pages::new(tces).bytes(PAGE).context("a window of that size")?;
        let query =
            CandidateQuery { size_min: size, size_max: size, device_mask: Iova::new(u64::MAX) };
        let found = engine.layouts().context("an attached container")?.candidates(&query);
        let is_wanted = |it: &&Candidate| {
            it.slot == Slot::One && it.page == PAGE && it.origin == Origin::Created
        };
        let found = found.iter().filter(is_wanted).min_by_key(|it| it.table.levels);
        let levels = found.map(|it| it.table.levels);
        engine.close()?;
        let levels =
            levels.with_context(|| format!("no window of {size} in {PAGE} pages in slot 1"))?;
        Ok(Self { slot: Slot::One, size, levels })
    }
}

/// How long something took.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn bytes(pages: u64) -> Result<Bytes> {
    Pages::new(pages).bytes(PAGE).context("a load fits the addresses")
}

fn iova(start: Iova, tce: u64) -> Result<Iova> {
    start.checked_add(bytes(tce)?).context("a load fits the window")
}

fn address(memory: MemoryRange, page: u64) -> Result<HostAddr> {
    memory.address.checked_add(bytes(page)?).context("a load fits the memory")
}
