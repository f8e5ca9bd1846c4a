//! What a program wanted, apart from how it asked for it: memory, and what of it devices could reach when.
//!
//! Bus addresses are left out: where a program computes them, as DPDK and QEMU do, they are its own choice and no wish.
//! Each piece of memory keeps its place in its region instead.

use std::collections::BTreeMap;

use serde::Serialize;
use tce_engine::{
    addr::{Bytes, PageShift},
    kernel::{MAP_WRITE, MemoryRange},
    machine::Backing,
};

use tce_sim::WindowView;

use crate::{
    event::Call,
    intent::Piece,
    replay::{ContainerId, Leaving, Observer, ReplayError, Step, replay},
    survey::{MemoryBlock, Survey},
    trace::Trace,
};

/// The most steps of a demand; what comes after them is left out, and said so.
pub const STEPS_MAX: usize = 60_000;
/// The most regions of a demand; memory beyond is left out with all that is mapped of it.
pub const REGIONS_MAX: usize = 1000;

/// Memory that was registered, in pages of one size and without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandRegion {
    /// Where it was.
    pub range: MemoryRange,
    /// What backs it.
    pub backing: Backing,
    /// The smallest piece of it that was mapped by itself.
    pub granule: PageShift,
    /// Whether devices ever could write to it.
    pub is_written: bool,
}

/// A part of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The region, as an index.
    pub region: usize,
    /// From where in it.
    pub offset: u64,
    /// How much.
    pub size: u64,
}

/// What was mapped or unmapped without anything else in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemandStep {
    /// Mapped.
    Map(Vec<Part>),
    /// Unmapped, or freed.
    Unmap(Vec<Part>),
}

/// What a program did for a demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effort {
    /// `REGISTER_MEMORY` calls.
    pub register: u64,
    /// `UNREGISTER_MEMORY` calls.
    pub unregister: u64,
    /// `TCE_CREATE` calls.
    pub create: u64,
    /// `TCE_REMOVE` calls.
    pub remove: u64,
    /// `MAP_DMA` calls.
    pub map: u64,
    /// `UNMAP_DMA` calls.
    pub unmap: u64,
    /// All of them.
    pub calls: u64,
    /// The largest size of the windows together.
    pub window_bytes: u64,
    /// The page of the largest window.
    pub page_bytes: u64,
    /// The most that tables were charged at a time, failed attempts included.
    pub table_charge_bytes: u64,
    /// The most locked memory; of a recorded program, on the simulated kernel.
    pub locked_peak_bytes: u64,
    /// The most TCEs set at a time.
    pub tces_peak: u64,
    /// Memory that stays pinned, and charges that stay, after all is taken down.
    pub left_behind_bytes: u64,
}

/// A demand, and what was done for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The memory.
    pub regions: Vec<DemandRegion>,
    /// What happened to it.
    pub steps: Vec<DemandStep>,
    /// What the recorded program did.
    pub theirs: Effort,
    /// What was left out or assumed, a sentence each.
    pub notes: Vec<String>,
}

impl Demand {
    /// The demand of a trace's container that was mapped in most.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn of(trace: &Trace, survey: &Survey) -> Result<Self, ReplayError> {
        let mut wishes = Wishes::default();
        replay(trace, survey, &mut wishes)?;
        Ok(wishes.conclude(survey))
    }
}

/// Pieces of memory that were mapped or unmapped in a row.
#[derive(Debug)]
enum Row {
    Mapped(Vec<Piece>),
    Unmapped(Vec<Piece>),
}

#[derive(Default)]
struct OfContainer {
    /// Whose memory it is about.
    process: Option<u32>,
    rows: Vec<Row>,
    theirs: Effort,
    /// Charges that failed attempts left.
    lost_charge: u64,
    /// Sizes of the windows as they were asked for: the kernel rounds small tables up.
    asked: BTreeMap<u64, u64>,
}

#[derive(Default)]
struct Wishes {
    containers: BTreeMap<ContainerId, OfContainer>,
    leaked: u64,
}

impl Observer for Wishes {
    fn step(&mut self, step: &Step<'_>) {
        let Some(id) = step.container else { return };
        let container = self.containers.entry(id).or_default();
        container.count(step);
        if let Some(unmapped) = &step.settled {
            container.unmapped(unmapped.meant.as_ref().unwrap_or(&unmapped.believed));
        }
        container.unmapped(&step.left);
        match step.event.call {
            Call::Map { flags, address, iova, size, .. }
                if step.event.answer.is_zero() && !size.is_zero() =>
            {
                container.mapped(Piece { iova, address, size, flags });
            }
            _ => {}
        }
    }

    fn leaving(&mut self, leaving: &Leaving<'_>) {
        if let Some(unmapped) = &leaving.settled {
            let container = self.containers.entry(leaving.container).or_default();
            container.unmapped(unmapped.meant.as_ref().unwrap_or(&unmapped.believed));
        }
        let regions = leaving.machine.regions();
        let leaked = regions.iter().filter(|region| region.owners == 0);
        self.leaked = leaked.map(|region| region.range.size.raw()).sum();
    }
}

impl OfContainer {
    fn count(&mut self, step: &Step<'_>) {
        let theirs = &mut self.theirs;
        match step.event.call {
            Call::Register { .. } => {
                theirs.register += 1;
                self.process.get_or_insert(step.event.process);
            }
            Call::Unregister { .. } => theirs.unregister += 1,
            Call::Create { start, size, .. } => {
                theirs.create += 1;
                if step.event.answer.is_zero() {
                    self.asked.insert(start.raw(), size.raw());
                } else {
                    let lost = step.after.locked.checked_sub(step.before.locked);
                    self.lost_charge += lost.unwrap_or_default().raw();
                }
            }
            Call::Remove { .. } => theirs.remove += 1,
            Call::Map { .. } => theirs.map += 1,
            Call::Unmap { .. } => theirs.unmap += 1,
            _ => return,
        }
        theirs.calls += 1;
        let windows = &step.after.windows;
        let asked = |window: &WindowView| self.asked.get(&window.start.raw()).copied();
        let sizes = windows.iter().map(|window| asked(window).unwrap_or(window.size.raw()));
        let charges = windows.iter().map(|window| window.charge.raw());
        let charge = charges.sum::<u64>().saturating_add(self.lost_charge);
        let size = sizes.fold(0, u64::saturating_add);
        if size > theirs.window_bytes {
            theirs.window_bytes = size;
            let largest = windows.iter().max_by_key(|window| window.size);
            theirs.page_bytes = largest.map_or(0, |window| window.page_shift.bytes().raw());
        }
        theirs.table_charge_bytes = theirs.table_charge_bytes.max(charge);
        theirs.locked_peak_bytes = theirs.locked_peak_bytes.max(step.after.locked.raw());
        theirs.tces_peak = theirs.tces_peak.max(step.after.live_tces());
    }

    fn mapped(&mut self, piece: Piece) {
        match self.rows.last_mut() {
            Some(Row::Mapped(pieces)) => pieces.push(piece),
            _ => self.rows.push(Row::Mapped(vec![piece])),
        }
    }

    fn unmapped(&mut self, pieces: &[Piece]) {
        if pieces.is_empty() {
            return;
        }
        match self.rows.last_mut() {
            Some(Row::Unmapped(row)) => row.extend(pieces),
            _ => self.rows.push(Row::Unmapped(pieces.to_vec())),
        }
    }
}

impl Wishes {
    fn conclude(mut self, survey: &Survey) -> Demand {
        let mut notes = survey.assumptions.clone();
        let chosen =
            self.containers.iter().max_by_key(|(_, it)| (it.theirs.map, it.theirs.register));
        let chosen = chosen.map(|(id, _)| *id);
        if self.containers.len() > 1 {
            notes.push(format!(
                "of {} containers only the one with the most maps is replayed",
                self.containers.len()
            ));
        }
        let container = chosen.and_then(|id| self.containers.remove(&id)).unwrap_or_default();
        if container.theirs.map == 0 {
            notes.push(
                "nothing was mapped by calls; KVM may have set TCEs in the kernel".to_owned(),
            );
        }
        let mut regions = regions(survey, container.process, &mut notes);
        let mut steps = Vec::new();
        for row in &container.rows {
            if steps.len() == STEPS_MAX {
                notes.push(format!("what came after {STEPS_MAX} steps is left out"));
                break;
            }
            let step = match row {
                Row::Mapped(pieces) => DemandStep::Map(parts(pieces, &mut regions)),
                Row::Unmapped(pieces) => DemandStep::Unmap(parts(pieces, &mut regions)),
            };
            match &step {
                DemandStep::Map(parts) | DemandStep::Unmap(parts) if parts.is_empty() => {}
                _ => steps.push(step),
            }
        }
        let theirs = Effort { left_behind_bytes: self.leaked, ..container.theirs };
        Demand { regions, steps, theirs, notes }
    }
}

/// The memory of one process, ascending.
fn regions(survey: &Survey, process: Option<u32>, notes: &mut Vec<String>) -> Vec<DemandRegion> {
    let blocks = survey.memory.iter().filter(|block| Some(block.process) == process);
    let count = blocks.clone().count();
    if count > REGIONS_MAX {
        notes
            .push(format!("of {count} pieces of memory only the first {REGIONS_MAX} are replayed"));
    }
    let region = |block: &MemoryBlock| DemandRegion {
        range: block.range,
        backing: block.backing,
        granule: match block.backing {
            Backing::Hugetlb(page) => page,
            Backing::Anonymous | Backing::Memfd => survey.page_shift,
        },
        is_written: false,
    };
    blocks.take(REGIONS_MAX).map(region).collect()
}

/// The parts of regions that pieces are, neighbours joined.
fn parts(pieces: &[Piece], regions: &mut [DemandRegion]) -> Vec<Part> {
    let mut parts: Vec<Part> = pieces.iter().filter_map(|piece| part(*piece, regions)).collect();
    parts.sort_unstable();
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if last.region == part.region && part.offset <= last.offset + last.size => {
                last.size = last.size.max(part.offset + part.size - last.offset);
            }
            _ => joined.push(part),
        }
    }
    joined
}

fn part(piece: Piece, regions: &mut [DemandRegion]) -> Option<Part> {
    let behind = regions.partition_point(|region| region.range.address <= piece.address);
    let index = behind.checked_sub(1)?;
    let region = regions.get_mut(index)?;
    let offset = piece.address.offset_from(region.range.address)?;
    let room = region.range.size.checked_sub(offset).filter(|room| !room.is_zero())?;
    let size = piece.size.min(room);
    region.is_written |= piece.flags & MAP_WRITE != 0;
    let unit = (offset.raw() | size.raw()).trailing_zeros();
    if let Some(granule) = u8::try_from(unit).ok().and_then(PageShift::new) {
        region.granule = region.granule.min(granule);
    }
    Some(Part { region: index, offset: offset.raw(), size: size.raw() })
}

impl DemandRegion {
    /// Its size.
    #[must_use]
    pub const fn size(&self) -> Bytes {
        self.range.size
    }
}
